"""The 100 tools as text: `name(arguments) description`, then indented phrasings separated by ` | `.

An argument is `name`, `name?` (optional) or `name=kind`. Kinds are the keys of `tools.KINDS`, `int:low-high`,
`num:low-high` (one decimal), `enum:a/b` (`value=words` if the query uses other words) and `bool:words if
true/words if false`. A part in square brackets is said only if the optional argument in it is given.
"""

from __future__ import annotations

AUXILIARY_TABLE = """
get_weather(city, day?) Tells the weather in a city.
  tell me the weather in {city}[ on {day}] | check the weather[ on {day}] for {city}
  look up how warm it is in {city}[ on {day}] | show the forecast for {city}[ for {day}]
  find out if it will rain in {city}[ on {day}]
book_table(city, time, people=int:2-12) Books a table at a restaurant.
  book a table for {people} in {city} at {time} | get us a table in {city} for {people} people at {time}
  reserve a dinner table for {people} at {time} in {city} | book dinner in {city} at {time} for {people}
  find a free table in {city} at {time} for {people} guests
set_alarm(time, day?) Sets an alarm.
  set an alarm for {time}[ on {day}] | wake me at {time}[ on {day}] | make the alarm ring at {time}[ on {day}]
  set my alarm clock to {time}[ for {day}] | wake me up[ on {day}] at {time}
send_message(name, text) Sends a message to a person.
  send a message to {name} saying '{text}' | text {name} '{text}' | write '{text}' to {name}
  message {name} with the words '{text}' | tell {name} '{text}'
book_flight(origin=city, destination=city, date) Books a flight between two cities.
  book a flight from {origin} to {destination} on {date}
  get me a plane ticket to {destination} from {origin} for {date}
  fly me from {origin} to {destination} on {date}
  find a seat on a plane from {origin} to {destination} on {date}
  book me on the {date} flight from {origin} to {destination}
play_song(title, artist?=name) Plays a song.
  play the song '{title}'[ by {artist}] | put on '{title}'[ by {artist}] | let me hear '{title}'[ by {artist}]
  start the tune '{title}'[ by {artist}] | sing '{title}'[ by {artist}] for me
set_timer(minutes=int:2-90) Starts a countdown.
  set a timer for {minutes} minutes | start a {minutes} minute timer | count down {minutes} minutes
  time {minutes} minutes for me | give me a countdown of {minutes} minutes
add_to_cart(item=thing, count=int:2-20) Adds items to the shopping cart.
  add {count} of the {item} to my cart | put the {item} in the cart {count} times
  place {count} units of the {item} in my shopping cart
  add the {item} to my shopping cart with a count of {count} | drop {count} of that {item} in the cart
create_event(title, date, time?) Creates an event in the calendar.
  create an event called '{title}' on {date}[ at {time}] | add '{title}' to my calendar on {date}[ at {time}]
  plan '{title}' for {date}[ at {time}] | put '{title}' on the calendar for {date}[ at {time}]
  make a calendar entry '{title}' on {date}[ at {time}]
switch_light(room=place, on=bool:on/off) Switches a light on or off.
  turn {on} the light in the {room} | switch the {room} light {on} | switch {on} the lights in the {room}
  turn the {room} lights {on} | make sure the light in the {room} is {on}
set_thermostat(degrees=int:15-28, room?=place) Sets the temperature.
  set the thermostat[ in the {room}] to {degrees} degrees | make it {degrees} degrees[ in the {room}]
  change the temperature[ of the {room}] to {degrees} | keep the heating[ in the {room}] at {degrees} degrees
  warm the air[ in the {room}] to {degrees} degrees
convert_currency(amount=int:2-200, source=enum:USD=dollars/EUR=euros/GBP=pounds, country) Changes money.
  convert {amount} {source} to the money of {country} | change {amount} {source} into money from {country}
  tell me what {amount} {source} are worth in {country} | exchange {amount} {source} for a trip to {country}
  work out how much {amount} {source} make in {country}
translate_word(word, language) Translates a word.
  translate the word {word} to {language} | say {word} in {language} | tell me the {language} word for {word}
  give me {word} in {language} | find out how to write {word} in {language}
call_contact(name, video?=bool:with video/without video) Calls a person.
  call {name}[ {video}] | phone {name}[ {video}] | start a call to {name}[ {video}] | ring up {name}[ {video}]
  get {name} on the line[ {video}]
order_pizza(topping=food, size=enum:small/medium/large, count=int:2-9) Orders pizzas.
  order {count} {size} pizzas with {topping} | get me {count} {size} pizzas topped with {topping}
  have {count} {size} {topping} pizzas delivered | ask for {count} pizzas with {topping} in size {size}
  buy {count} {size} pizzas with {topping} on top
reserve_hotel(city, nights=int:2-14, date?) Reserves a hotel room.
  reserve a hotel in {city} for {nights} nights[ from {date}]
  book a room in {city} for {nights} nights[ from {date}]
  find me a hotel for {nights} nights in {city}[ starting on {date}]
  get a hotel room in {city} for {nights} nights[ starting {date}]
  arrange a stay of {nights} nights in {city}[ from {date}]
get_directions(start=place, goal=place) Gives directions between two places.
  show me the way from the {start} to the {goal} | give me directions to the {goal} from the {start}
  guide me from the {start} to the {goal} | tell me how to get to the {goal} from the {start}
  find the road from the {start} to the {goal}
track_package(number=int:1000-9999) Tracks a package.
  track package {number} | find package number {number} | tell me where parcel {number} is
  check on the delivery of package {number} | look up parcel number {number}
transfer_money(amount=int:5-900, name, note?=text) Transfers money to a person.
  send {amount} dollars to {name}[ with the note '{note}']
  transfer {amount} dollars to {name}[ noting '{note}']
  move {amount} dollars to the account of {name}[ with the words '{note}']
  pay {name} {amount} dollars[ with the note '{note}'] | wire {name} {amount} dollars[ and write '{note}']
add_note(text) Saves a note.
  write down '{text}' | make a note that says '{text}' | note '{text}' | add '{text}' to my notes
  keep the note '{text}'
flip_coin() Flips a coin.
  flip a coin | toss a coin for me | throw a coin | choose heads or tails | flip a coin to decide
take_photo() Takes a photo.
  take a photo | take a picture now | snap a photo of us | use the camera to take a picture | shoot a photo
roll_dice(count=int:2-9, sides=int:4-20) Rolls dice.
  roll {count} dice with {sides} sides | throw {count} dice that have {sides} sides
  roll {count} dice of {sides} sides for me | cast {count} dice with {sides} sides each
  toss {count} dice with {sides} faces
get_news(topic=things, country?) Shows the news on a topic.
  show me the news about {topic}[ from {country}] | read the news on {topic}[ in {country}]
  find news stories about {topic}[ in {country}] | tell me what is new with {topic}[ in {country}]
  get the latest news about {topic}[ from {country}]
search_recipe(ingredient=food, minutes?=int:10-60) Finds a recipe.
  find a recipe with {ingredient}[ that takes {minutes} minutes]
  search for a dish made of {ingredient}[ in {minutes} minutes]
  show me how to cook {ingredient}[ in {minutes} minutes]
  look for a[ {minutes} minute] recipe with {ingredient}
  give me a meal idea with {ingredient}[ under {minutes} minutes]
rent_car(city, days=int:2-14, size?=enum:small/medium/large) Rents a car.
  rent a[ {size}] car in {city} for {days} days | get me a[ {size}] rental car for {days} days in {city}
  hire a[ {size}] car for {days} days in {city} | find a[ {size}] car to rent in {city} for {days} days
  book a[ {size}] car in {city} for {days} days
buy_tickets(title, count=int:2-9, day) Buys cinema tickets.
  buy {count} tickets for '{title}' on {day} | get {count} seats for the film '{title}' on {day}
  order {count} cinema tickets to '{title}' for {day} | take {count} of us to see '{title}' on {day}
  book {count} seats at '{title}' on {day}
log_meal(food, meal=enum:breakfast/lunch/dinner) Records a meal.
  log {food} for {meal} | write that I had {food} for {meal} | record {food} as my {meal}
  save {food} as today's {meal} | add {food} to my {meal} log
start_workout(sport=enum:running/swimming/cycling/yoga, minutes=int:5-90) Starts a workout.
  start a {sport} workout of {minutes} minutes | begin {minutes} minutes of {sport}
  start {sport} for {minutes} minutes | coach me in {sport} for {minutes} minutes
  set up a {minutes} minute {sport} session
measure_distance(start=city, end=city) Measures the distance between two cities.
  measure the distance from {start} to {end} | tell me how far {start} is from {end}
  find the distance between {start} and {end} | compute how far it is from {start} to {end}
  give me the kilometers between {start} and {end}
calculate_tip(bill=num:10-99, percent=int:5-25) Calculates a tip.
  calculate a {percent} percent tip on {bill} dollars
  work out the tip for a bill of {bill} at {percent} percent
  tell me the {percent} percent tip on a {bill} dollar bill
  compute a tip of {percent} percent for {bill} dollars | find the tip on {bill} dollars at {percent} percent
add_numbers(a=num:1-99, b=num:1-99) Adds two numbers.
  add {a} and {b} | sum {a} and {b} | compute {a} plus {b} | find the sum of {a} and {b}
  tell me what {a} plus {b} is
water_plants(place, liters=num:1-9) Waters the plants.
  water the plants in the {place} with {liters} liters | give the {place} plants {liters} liters of water
  pour {liters} liters on the plants at the {place} | use {liters} liters to water the {place}
  sprinkle {liters} liters of water on the {place} plants
feed_pet(animal, food, time?) Feeds a pet.
  feed the {animal} some {food}[ at {time}] | give {food} to the {animal}[ at {time}]
  serve the {animal} {food}[ at {time}] | let the {animal} eat {food}[ at {time}]
  fill the bowl of the {animal} with {food}[ at {time}]
lock_door(place, locked=bool:lock/unlock) Locks or unlocks a door.
  {locked} the door of the {place} | {locked} the {place} door | {locked} the {place}
  use the key to {locked} the {place} | please {locked} the entrance of the {place}
vacuum_room(room=place, mode?=enum:quiet/normal/strong) Sends the robot to vacuum a room.
  vacuum the {room}[ in {mode} mode] | send the robot to the {room}[ in {mode} mode]
  clean the floor of the {room}[ in {mode} mode] | let the robot clean the {room}[ in {mode} mode]
  suck up the dust in the {room}[ in {mode} mode]
print_document(title, copies=int:2-30, color?=bool:in color/in black and white) Prints a document.
  print {copies} copies of '{title}'[ {color}] | print '{title}' {copies} times[ {color}]
  make {copies} prints of '{title}'[ {color}] | send {copies} copies of '{title}' to the printer[ {color}]
  put '{title}' on paper {copies} times[ {color}]
share_album(album=title, name) Shares a photo album.
  share the album '{album}' with {name} | let {name} see the album '{album}'
  show {name} my photo album '{album}' | give {name} access to the photos in '{album}'
  open the album '{album}' to {name}
find_job(job, city) Searches for jobs.
  find a job as a {job} in {city} | search {city} for work as a {job} | look for {job} jobs in {city}
  show me open {job} positions in {city} | see who needs a {job} in {city}
schedule_doctor(patient=person, day, time) Makes an appointment with a doctor.
  make a doctor's appointment for {patient} on {day} at {time}
  send {patient} to the doctor on {day} at {time} | get {patient} a doctor's visit at {time} on {day}
  schedule {patient} with the doctor on {day} at {time}
  arrange for the doctor to see {patient} on {day} at {time}
rename_file(old=word, new=word) Renames a file.
  rename the file {old} to {new} | change the name of file {old} to {new} | let the file {old} be called {new}
  give the file {old} the name {new} | make {new} the new name of the file {old}
play_movie(title, room?=place) Plays a movie.
  play the movie '{title}'[ in the {room}] | start the film '{title}'[ in the {room}]
  show '{title}' on the screen[ in the {room}] | stream the film '{title}'[ in the {room}]
  put the movie '{title}' on[ in the {room}]
set_volume(level=int:2-100) Sets the volume.
  set the volume to {level} | turn the sound to {level} | change the volume level to {level}
  make the volume {level} percent | put the sound level at {level}
check_balance(account=enum:checking/savings/business) Shows the balance of an account.
  check the balance of my {account} account | tell me how much is in my {account} account
  show my {account} balance | look at the money in my {account} account
  read me the {account} account balance
post_review(place, stars=int:2-5, text) Posts a review of a place.
  post a review of the {place} with {stars} stars saying '{text}'
  give the {place} {stars} stars and write '{text}' | rate the {place} {stars} stars with the comment '{text}'
  review the {place} as '{text}' with {stars} stars
  leave {stars} stars for the {place} with the words '{text}'
hire_cleaner(street, date, hours=int:2-8) Hires a cleaner.
  hire a cleaner for {street} on {date} for {hours} hours
  get someone to clean {street} for {hours} hours on {date}
  send a cleaner to {street} on {date} for {hours} hours
  order {hours} hours of cleaning at {street} on {date} | have {street} cleaned for {hours} hours on {date}
add_contact(person, phone, city?) Saves a contact.
  save {person} with the number {phone}[ in {city}] | add {person} to my contacts with {phone}[ from {city}]
  store {phone} as the number of {person}[ in {city}] | keep the number {phone} for {person}[ in {city}]
  put {person} in the phone book under {phone}[ in {city}]
find_parking(street, hours=int:2-12) Finds a parking space.
  find parking near {street} for {hours} hours | park the car at {street} for {hours} hours
  look for a parking space by {street} for {hours} hours | get me {hours} hours of parking on {street}
  show me where to park for {hours} hours around {street}
list_birthdays(month) Lists the birthdays in a month.
  list the birthdays in {month} | show who was born in {month} | tell me whose birthday is in {month}
  find all {month} birthdays | name the friends who turn older in {month}
sell_item(item=thing, price=num:2-99, city?) Offers an item for sale.
  sell the {item} for {price} dollars[ in {city}] | put the {item} up for sale at {price} dollars[ in {city}]
  offer the {item} to buyers[ in {city}] for {price} dollars
  list the {item} at a price of {price} dollars[ in {city}] | ask {price} dollars for the {item}[ in {city}]
"""

HELD_OUT_TABLE = """
get_sunrise(city, date) Gives the time of sunrise.
  say when the sun comes up in {city} on {date} | give the sunrise time of {city} on {date}
  look up the first light in {city} for {date} | compute sunrise on {date} for {city}
  report when dawn breaks over {city} on {date}
reserve_train_seat(origin=city, destination=city, time, seat?=enum:window/aisle) Reserves a seat on a train.
  reserve a[ {seat}] seat on the {time} train from {origin} to {destination}
  hold a[ {seat}] train seat from {origin} to {destination} at {time}
  put me on the {time} train from {origin} to {destination}[ with a {seat} seat]
  take the train to {destination} from {origin} at {time}[ in a {seat} seat]
  secure a[ {seat}] place on the train leaving {origin} for {destination} at {time}
add_reminder(text, day, time?) Reminds the user of something.
  remind me '{text}' on {day}[ at {time}] | set a reminder '{text}' for {day}[ at {time}]
  do not let me forget '{text}' on {day}[ at {time}] | add a reminder on {day}[ at {time}] saying '{text}'
  nudge me with '{text}' on {day}[ at {time}]
email_report(name, title, urgent?=bool:as urgent/as not urgent) Emails a report to a person.
  email the report '{title}' to {name}[ {urgent}] | mail {name} the report '{title}'[ {urgent}]
  forward '{title}' by email to {name}[ {urgent}]
  deliver the report '{title}' to the inbox of {name}[ {urgent}]
  submit the report '{title}' to {name}[ {urgent}]
buy_bus_pass(city, weeks=int:2-12) Buys a bus pass.
  buy a bus pass for {city} for {weeks} weeks | purchase {weeks} weeks of bus rides in {city}
  get a {weeks} week bus pass in {city} | renew my {city} bus card for {weeks} weeks
  load {weeks} weeks onto the bus card of {city}
queue_podcast(title, episode=int:2-99) Queues a podcast episode.
  queue episode {episode} of '{title}' | line up the podcast '{title}' at episode {episode}
  add podcast '{title}' episode {episode} to the queue
  continue with episode {episode} of the podcast '{title}' | put episode {episode} of '{title}' next
brew_coffee(cups=int:2-9, milk=bool:with milk/without milk) Brews coffee.
  brew {cups} cups of coffee {milk} | make {cups} coffees {milk} | prepare coffee {milk} for {cups}
  let the machine pour {cups} coffees {milk} | heat up {cups} cups of coffee {milk}
order_groceries(food, kilos=num:1-9, day?) Orders groceries.
  order {kilos} kilos of {food}[ for {day}] | have the grocer bring {kilos} kilos of {food}[ on {day}]
  stock up on {food} with {kilos} kilos[ on {day}]
  request {kilos} kilos of {food} from the grocery store[ for {day}]
  ship me {kilos} kilos of {food}[ on {day}]
invite_guest(name, event=title, day) Invites a guest to an event.
  invite {name} to '{event}' on {day} | ask {name} to come to '{event}' on {day}
  send {name} an invitation to '{event}' for {day} | put {name} on the guest list of '{event}' on {day}
  welcome {name} to '{event}' on {day}
dim_lamp(room=place, percent=int:5-95) Dims a lamp.
  dim the lamp in the {room} to {percent} percent | lower the {room} lamp to {percent} percent
  fade the lamp of the {room} to {percent} percent | bring the brightness in the {room} to {percent} percent
  set the {room} lamp at {percent} percent brightness
heat_oven(degrees=int:100-250, minutes=int:5-60) Heats the oven.
  heat the oven to {degrees} degrees for {minutes} minutes | bake at {degrees} degrees for {minutes} minutes
  run the oven {minutes} minutes at {degrees} degrees
  keep the oven at {degrees} degrees for {minutes} minutes
  preheat to {degrees} degrees and hold it {minutes} minutes
compare_prices(first=thing, second=thing) Compares the prices of two things.
  compare the price of the {first} with the {second} | see if the {first} costs more than the {second}
  weigh the cost of the {first} against the {second} | check which is cheaper: the {first} or the {second}
  contrast the prices of the {first} and the {second}
define_word(word) Gives the meaning of a word.
  define the word {word} | explain what {word} means | look up {word} in the dictionary
  give the meaning of {word} | describe the sense of the word {word}
list_museums(city, free=bool:free/paid) Lists the museums of a city.
  list the {free} museums of {city} | name {free} museums in {city} | show {free} museums to visit in {city}
  suggest {free} museums around {city} | collect the {free} museums near {city}
leave_voicemail(phone, text) Leaves a voicemail.
  leave a voicemail at {phone} saying '{text}' | record '{text}' on the voicemail of {phone}
  speak '{text}' into the mailbox of {phone} | dial {phone} and leave the voicemail '{text}'
  drop a voice message '{text}' for {phone}
send_gift(item=thing, person, date?) Sends a gift to a person.
  send the {item} as a gift to {person}[ on {date}] | gift the {item} to {person}[ on {date}]
  surprise {person} with the {item}[ on {date}] | wrap the {item} for {person}[ for {date}]
  mail a present, the {item}, to {person}[ on {date}]
rent_bike(city, hours=int:2-12, helmet?=bool:with a helmet/without a helmet) Rents a bike.
  rent a bike in {city} for {hours} hours[ {helmet}] | hire a bicycle for {hours} hours in {city}[ {helmet}]
  take out a bike for {hours} hours in {city}[ {helmet}]
  pick up a bicycle in {city} for {hours} hours[ {helmet}]
  borrow a bike {hours} hours long in {city}[ {helmet}]
plan_hike(place, kilometers=num:2-30, day) Plans a hike.
  plan a hike of {kilometers} kilometers to the {place} on {day}
  prepare a {kilometers} kilometer walk around the {place} on {day}
  map out a trail of {kilometers} kilometers by the {place} for {day}
  lay out a {kilometers} kilometer hike near the {place} for {day}
  organize a walk to the {place} of {kilometers} kilometers on {day}
return_item(item=thing, order=int:1000-9999) Returns an item of an order.
  return the {item} from order {order} | send back the {item} of order {order}
  refund the {item} in order number {order} | bring back the {item} bought in order {order}
  start a return of the {item} for order {order}
pay_bill(company=surname, amount=num:10-300) Pays a bill.
  pay the {company} bill of {amount} dollars | settle {amount} dollars with {company}
  clear the invoice from {company} for {amount} dollars | hand {company} the {amount} dollars on the bill
  cover the bill from {company} of {amount} dollars
save_quote(text, author=person) Saves a quote.
  save the quote '{text}' by {author} | remember '{text}' as said by {author}
  file the quote '{text}' under {author} | collect the words '{text}' by {author}
  store a quotation of {author}: '{text}'
pick_number(low=int:2-40, high=int:50-500) Picks a random number.
  pick a number between {low} and {high} | draw a random number from {low} to {high}
  choose any number from {low} up to {high} | select a number in the range {low} to {high}
  generate a number from {low} to {high}
shuffle_cards() Shuffles a deck of cards.
  shuffle the cards | mix the deck of cards | shuffle the deck again | put the cards in random order
  mix up the cards well
stop_music() Stops the music.
  stop the music | end the music now | silence the player | quit playing music | halt the music at once
read_poem(topic=things, lines=int:2-20) Reads a poem about a topic.
  read a poem about {topic} with {lines} lines | recite {lines} lines on {topic}
  perform a {lines} line poem about {topic} | speak {lines} lines of verse about {topic}
  offer me a poem on {topic} in {lines} lines
count_calories(food, grams=int:10-500) Counts the calories of a food.
  count the calories in {grams} grams of {food} | estimate the energy of {grams} grams of {food}
  report how many calories {grams} grams of {food} have | add up calories for {food} at {grams} grams
  rate {grams} grams of {food} by calories
hail_taxi(street, passengers=int:2-7, time) Orders a taxi.
  hail a taxi to {street} at {time} for {passengers}
  order a cab for {passengers} people at {street} at {time}
  request a taxi at {time} from {street} for {passengers} passengers
  let a taxi pick up {passengers} of us at {street} at {time}
  bring a cab to {street} at {time} for {passengers} riders
book_concert(artist=person, city, seats=int:2-9) Books seats at a concert.
  book {seats} seats for the {artist} concert in {city} | reserve {seats} places to hear {artist} in {city}
  secure {seats} concert seats for {artist} in {city} | let {seats} of us attend {artist} live in {city}
  claim {seats} seats at the show of {artist} in {city}
track_sleep(hours=num:2-12, day) Records the hours of sleep.
  record {hours} hours of sleep on {day} | track that I slept {hours} hours on {day}
  enter {hours} hours of sleep for {day} | mark {day} with {hours} hours of rest
  keep {hours} hours as my sleep on {day}
log_run(kilometers=num:2-30, minutes=int:10-180) Records a run.
  log a run of {kilometers} kilometers in {minutes} minutes
  record my {kilometers} kilometer run of {minutes} minutes
  enter a jog of {kilometers} kilometers that took {minutes} minutes
  write up {minutes} minutes of running over {kilometers} kilometers
  register a run: {kilometers} kilometers in {minutes} minutes
rectangle_area(width=num:1-40, height=num:1-40) Computes the area of a rectangle.
  compute the area of a rectangle {width} wide and {height} high
  find the area for width {width} and height {height} | work out the area of a {width} by {height} rectangle
  calculate the surface of a rectangle of width {width} and height {height}
  get the area of a box side {width} wide and {height} tall
split_bill(total=num:10-300, people=int:2-12) Splits a bill.
  split a bill of {total} dollars between {people} people | divide {total} dollars by {people} friends
  share the cost of {total} dollars among {people} | break {total} dollars into {people} equal parts
  let {people} people each pay a part of {total} dollars
multiply_numbers(a=int:2-99, b=int:2-99) Multiplies two numbers.
  multiply {a} by {b} | compute {a} times {b} | give me the product of {a} and {b} | calculate {a} times {b}
  work out the product of {a} with {b}
plant_seed(food, place, month) Plants seeds.
  plant {food} seeds at the {place} in {month} | sow {food} near the {place} in {month}
  grow {food} by the {place} from {month} | put {food} seeds in the soil at the {place} in {month}
  start {food} plants behind the {place} in {month}
adopt_pet(animal, pet_name=name) Adopts an animal.
  adopt the {animal} called {pet_name} | bring home a pet {animal} named {pet_name}
  take in the {animal} and name it {pet_name} | give a home to {pet_name} the {animal}
  sign the papers for {pet_name} the {animal}
move_blinds(room=place, open=bool:open/close) Opens or closes the blinds.
  {open} the blinds in the {room} | {open} the {room} blinds | go and {open} the blinds of the {room}
  {open} all blinds at the {room} | kindly {open} the window blinds in the {room}
wash_clothes(color, degrees=int:20-90) Washes clothes.
  wash the {color} clothes at {degrees} degrees | run the washer with the {color} clothes at {degrees} degrees
  do the {color} laundry at {degrees} degrees | clean the {color} shirts at {degrees} degrees
  start a {color} wash at {degrees} degrees
scan_pages(pages=int:2-60, format=enum:pdf/png/jpg) Scans pages.
  scan {pages} pages to {format} | digitize {pages} pages as {format}
  scan a stack of {pages} pages into {format} | copy {pages} pages into a {format} file
  capture {pages} pages in the {format} format
create_poll(title, options=int:2-9, hours?=int:2-72) Creates a poll.
  create a poll '{title}' with {options} options[ for {hours} hours]
  start a vote on '{title}' with {options} choices[ lasting {hours} hours]
  ask everyone to vote on '{title}' with {options} options[ within {hours} hours]
  open a poll named '{title}' with {options} answers[ for {hours} hours]
  run the survey '{title}' with {options} choices[ over {hours} hours]
post_vacancy(job, city, salary=int:20-99) Posts a job offer.
  post an offer for a {job} in {city} at {salary} dollars an hour
  advertise that {city} needs a {job} for {salary} dollars an hour
  seek a {job} in {city} paying {salary} dollars an hour
  publish a vacancy for a {job} at {salary} dollars an hour in {city}
  recruit a {job} for {city} at {salary} dollars an hour
convert_length(value=num:1-200, unit=enum:m=meters/ft=feet/in=inches) Converts a length to centimeters.
  convert {value} {unit} to centimeters | turn {value} {unit} into centimeters
  express {value} {unit} in centimeters | rewrite a length of {value} {unit} in centimeters
  change {value} {unit} to a number of centimeters
book_haircut(name, day, time) Books a haircut.
  book a haircut with {name} on {day} at {time} | let {name} cut my hair on {day} at {time}
  get my hair done by {name} at {time} on {day} | reserve a chair at the salon of {name} on {day} at {time}
  see {name} for a trim on {day} at {time}
delete_file(file=word, folder?=word) Deletes a file.
  delete the file {file}[ from the folder {folder}] | remove file {file}[ in folder {folder}]
  erase the file {file}[ of the folder {folder}] | throw away the file {file}[ in the folder {folder}]
  wipe the file {file}[ out of the folder {folder}]
record_show(channel=int:2-99, day, time) Records a show.
  record channel {channel} on {day} at {time} | tape what is on channel {channel} at {time} on {day}
  save the show on channel {channel} on {day} at {time} | capture channel {channel} on {day} from {time}
  keep the {time} show of channel {channel} on {day}
mute_device(device=enum:phone/radio/speaker/television, muted=bool:mute/unmute) Mutes or unmutes a device.
  {muted} the {device} | {muted} my {device} | {muted} the sound of the {device}
  press the button to {muted} the {device} | quickly {muted} the {device}
spell_name(person, slowly?=bool:slowly/at normal speed) Spells a name.
  spell the name {person}[ {slowly}] | spell out {person}[ {slowly}] | say the letters of {person}[ {slowly}]
  go through the name {person} letter by letter[ {slowly}] | pronounce each letter of {person}[ {slowly}]
open_account(person, kind=enum:checking/savings/business, deposit=int:10-900) Opens a bank account.
  open a {kind} account for {person} with {deposit} dollars
  start a {kind} account in the name of {person} with {deposit} dollars
  set {person} up with a {kind} account holding {deposit} dollars
  register {person} for a {kind} account with a deposit of {deposit} dollars
  create a {kind} account with {deposit} dollars for {person}
report_problem(place, text, street?) Reports a problem.
  report '{text}' at the {place}[ on {street}] | file the complaint '{text}' about the {place}[ at {street}]
  let the city know '{text}' about the {place}[ on {street}]
  warn about the {place}[ on {street}] with '{text}' | raise the issue '{text}' with the {place}[ at {street}]
hire_tutor(language, hours=int:2-10, city?) Hires a language tutor.
  hire a {language} tutor for {hours} hours[ in {city}]
  find someone to teach me {language} for {hours} hours[ in {city}]
  get {language} lessons of {hours} hours[ in {city}] | arrange {hours} hours of {language} class[ in {city}]
  learn {language} with a tutor for {hours} hours[ in {city}]
block_number(phone, days?=int:2-30) Blocks a phone number.
  block the number {phone}[ for {days} days] | refuse calls from {phone}[ for {days} days]
  ban {phone} from calling[ for {days} days] | reject any call from {phone}[ for {days} days]
  stop {phone} from reaching me[ for {days} days]
"""
