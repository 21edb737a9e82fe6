"""Tools to train or adapt a backbone on, in the form of `tool_table`; no experiment evaluates them.

The backbone ``mini-tools`` was trained on them; ``mini`` was not.
"""

from __future__ import annotations

TRAINING_TABLE = """
paint_wall(room=place, color, coats?=int:2-5) Orders a painter for a wall.
  paint the wall of the {room} {color}[ with {coats} coats]
  give the {room} a {color} wall[ in {coats} coats]
  make the walls of the {room} {color}[ using {coats} coats]
  cover the {room} in {color} paint[, {coats} coats]
charge_phone(percent=int:20-100, slow?=bool:slowly/fast) Charges the phone.
  charge my phone to {percent} percent[ {slow}] | fill the battery up to {percent} percent[ {slow}]
  plug the phone in until it shows {percent} percent[ {slow}] | power my phone to {percent} percent[ {slow}]
fix_roof(address=street, day) Sends a roofer.
  fix the roof at {address} on {day} | have someone repair the roof of {address} on {day}
  send a roofer to {address} for {day} | get the leak over {address} mended on {day}
name_star(star=animal, owner=person) Names a star after an animal.
  name a star {star} for {owner} | call a star the {star} in honor of {owner}
  register a star as {star} under {owner} | let {owner} own a star called {star}
find_book(title, writer?=person) Finds a book in the library.
  find the book '{title}'[ by {writer}] | see if the library has '{title}'[ from {writer}]
  look on the shelves for '{title}'[ written by {writer}] | locate a copy of '{title}'[ by {writer}]
extend_loan(title, weeks=int:2-8) Extends the loan of a book.
  extend my loan of '{title}' by {weeks} weeks | keep '{title}' from the library {weeks} weeks longer
  renew the borrowed '{title}' for {weeks} weeks | let me hold on to '{title}' for {weeks} more weeks
share_location(friend=name, minutes=int:5-90) Shares where one is.
  share my location with {friend} for {minutes} minutes | show {friend} where I am for {minutes} minutes
  let {friend} follow my position for {minutes} minutes | give {friend} my whereabouts for {minutes} minutes
subtract_numbers(first=int:50-99, second=int:2-49) Subtracts one number from another.
  subtract {second} from {first} | take {second} away from {first} | work out {first} minus {second}
  find the difference of {first} and {second} | see what {first} less {second} leaves
divide_number(number=int:20-99, parts=int:2-12) Divides a number.
  divide {number} by {parts} | cut {number} into {parts} equal parts | work out {number} over {parts}
  see how often {parts} goes into {number}
circle_area(radius=num:2-40) Gives the area of a circle.
  find the area of a circle with radius {radius} | tell me how much a disc of radius {radius} covers
  calculate the area inside a circle of radius {radius} | measure a round field of radius {radius}
convert_weight(value=num:2-200, target=enum:kg=kilos/lb=pounds/oz=ounces) Converts a weight.
  convert a weight of {value} to {target} | tell me what {value} on the scale is in {target}
  express the weight {value} in {target} | show {value} as {target}
save_password(site=things, secret=word) Saves a password.
  save the password {secret} for the {site} site | remember {secret} as my password on {site}
  store {secret} as login of {site} | keep the code {secret} for the page about {site}
clean_window(floor=int:2-30, day) Has windows cleaned.
  clean the windows of floor {floor} on {day} | have the glass on floor {floor} washed on {day}
  send somebody on {day} to wipe the panes of floor {floor} | get floor {floor} shiny windows by {day}
toast_bread(slices=int:2-8, dark=bool:dark/light) Toasts bread.
  toast {slices} slices of bread {dark} | make {slices} {dark} toasts | brown {slices} pieces of bread {dark}
  get me {slices} slices toasted {dark}
cut_grass(garden=street, height=int:2-9) Mows a lawn.
  cut the grass at {garden} to {height} centimeters | mow the lawn of {garden} down to {height} centimeters
  trim the lawn at {garden} and leave {height} centimeters
  shorten the grass of {garden} to {height} centimeters
enter_contest(event=title, runner=person) Registers for a contest.
  enter {runner} in the contest '{event}' | sign {runner} up to compete in '{event}'
  put {runner} down for the competition '{event}' | let {runner} take part in '{event}'
borrow_tool(tool=thing, neighbor=name, days=int:2-14) Borrows a thing from a neighbor.
  borrow the {tool} of {neighbor} for {days} days | ask {neighbor} to lend me the {tool} for {days} days
  get the {tool} from {neighbor} for {days} days | take {neighbor}'s {tool} on loan for {days} days
feed_fish(tank=color, grams=int:2-40) Feeds the fish.
  feed the fish in the {tank} tank {grams} grams | drop {grams} grams of food into the {tank} aquarium
  give {grams} grams to the fish of the {tank} tank | serve the {tank} tank {grams} grams of flakes
light_fire(room=place, logs=int:2-9) Lights a fireplace.
  light a fire in the {room} with {logs} logs | burn {logs} logs in the fireplace of the {room}
  make the {room} cozy with {logs} logs on the fire | start the {room} fireplace using {logs} logs
ring_bell(times=int:2-12, tower?=city) Rings a bell.
  ring the bell {times} times[ in {tower}] | let the bell[ of {tower}] sound {times} times
  strike the bell {times} times[ at {tower}] | make the bell[ in {tower}] toll {times} times
order_flowers(color, bunches=int:2-9, receiver=person) Orders flowers.
  order {bunches} bunches of {color} flowers for {receiver}
  have {bunches} {color} bouquets brought to {receiver}
  deliver {bunches} {color} bouquets to {receiver} | please {receiver} with {bunches} bunches in {color}
book_massage(hour=time, masseur?=name) Books a massage.
  book a massage at {hour}[ with {masseur}] | let me have my back rubbed at {hour}[ by {masseur}]
  get me a massage slot at {hour}[ with {masseur}] | reserve the massage bench for {hour}[ with {masseur}]
trade_stock(company=surname, shares=int:2-90, buy=bool:buy/sell) Trades shares of a company.
  {buy} {shares} shares of {company} | {buy} {shares} pieces of {company} stock
  go to the exchange and {buy} {shares} {company} shares | {buy} stock of {company}, {shares} shares
set_budget(category=food, limit=int:20-400, month) Sets a budget.
  set a budget of {limit} dollars for {category} in {month}
  let me spend at most {limit} on {category} in {month}
  limit what goes to {category} in {month} to {limit} dollars | cap {month} spending on {category} at {limit}
donate_money(cause=things, amount=int:5-300) Donates money.
  donate {amount} dollars for {cause} | give {amount} dollars to help {cause}
  support {cause} with {amount} dollars | make a gift of {amount} dollars to the fund for {cause}
join_club(club=animal, member=person) Joins a club.
  join the {club} club as {member} | make {member} a member of the {club} club
  enroll {member} with the friends of the {club} | put {member} on the list of the {club} society
weigh_parcel(parcel=thing, country) Weighs a parcel.
  weigh the {parcel} that goes to {country} | put the {parcel} for {country} on the scale
  see how heavy the {parcel} to {country} is | find the weight of the {parcel} sent to {country}
scan_wall(network=word, hours?=int:2-24) Searches a network for intruders.
  check the network {network} for intruders[ over {hours} hours]
  guard {network} against hackers[ for {hours} hours]
  search the {network} network for strangers[ from the last {hours} hours]
  see if somebody broke into {network}[ within {hours} hours]
write_poem(topic=things, lines=int:4-20) Writes a poem.
  write a poem of {lines} lines about {topic} | compose {lines} lines on {topic}
  make up a verse on {topic} with {lines} lines | put {topic} into a poem of {lines} lines
draw_card(deck=color, count=int:2-9) Draws cards.
  draw {count} cards from the {deck} deck | take {count} cards off the {deck} pile
  deal me {count} from the {deck} deck | pull {count} cards out of the {deck} stack
solve_riddle(text) Solves a riddle.
  solve the riddle '{text}' | tell me the answer to the riddle '{text}' | crack the puzzle '{text}'
  find out what '{text}' means as a riddle
teach_trick(pet=animal, trick=word) Teaches an animal a trick.
  teach the {pet} the trick {trick} | train the {pet} to do {trick} | show the {pet} how {trick} goes
  practice {trick} with the {pet}
walk_dog(dog=name, minutes=int:10-90, park?=place) Walks a dog.
  walk {dog} for {minutes} minutes[ around the {park}] | take {dog} out {minutes} minutes[ near the {park}]
  let {dog} run for {minutes} minutes[ by the {park}]
  go outside with {dog} for {minutes} minutes[ to the {park}]
change_tire(car=color, wheel=enum:front/rear) Changes a tire.
  change the {wheel} tire of the {car} car | put a new {wheel} tire on the {car} car
  swap the {wheel} wheel of the {car} car | replace the flat {wheel} tire on the {car} one
fill_tank(liters=int:5-80, fuel=enum:diesel/petrol) Fills the tank.
  fill the tank with {liters} liters of {fuel}
  pump {liters} liters of {fuel}
  get {liters} liters of {fuel}
  put {liters} liters {fuel} in the car
build_shelf(room=place, boards=int:2-9, wood?=adjective) Builds a shelf.
  build a shelf with {boards} boards in the {room}[ from {wood} wood]
  put up {boards} boards in the {room}[, {wood} ones]
  hang a shelf of {boards}[ {wood}] boards in the {room}
  make room for books in the {room} with {boards}[ {wood}] boards
sort_mail(folder=word, sender=name) Sorts letters into a folder.
  sort the mail of {sender} into {folder} | move letters from {sender} to the folder {folder}
  file whatever {sender} writes under {folder} | put messages by {sender} in {folder}
ask_expert(expert=job, question=text) Asks an expert.
  ask the {expert} '{question}' | put the question '{question}' to the {expert}
  find out from a {expert} about '{question}' | consult the {expert} on '{question}'
freeze_card(digits=int:1000-9999, reason?=text) Freezes a bank card.
  freeze the card ending in {digits}[ because '{reason}'] | lock my bank card {digits}[ saying '{reason}']
  make the card {digits} useless[ for the reason '{reason}'] | suspend card {digits}[ noting '{reason}']
check_tide(beach=city, date) Tells the tide.
  check the tide in {beach} on {date} | tell me when the water rises at {beach} on {date}
  look up high water for {beach} on {date} | see how the sea stands at {beach} on {date}
"""
