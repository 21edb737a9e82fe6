// Tables sort by the column whose title is pressed, within each group of rows. Without script they stay as written.
(() => {
  const compare = (a, b) => {
    const [x, y] = [Number(a), Number(b)];
    if (a !== "" && b !== "" && !Number.isNaN(x) && !Number.isNaN(y)) return x - y;
    return a.localeCompare(b);
  };
  const value = (row, column) => row.cells[column].dataset.sort;
  const sort = (table, head, column) => {
    const down = head.getAttribute("aria-sort") === "descending";
    const ascending = head.hasAttribute("aria-sort") ? down : !head.classList.contains("number");
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
      const known = rows.filter((row) => value(row, column) !== "-");
      known.sort((a, b) => compare(value(a, column), value(b, column)) * (ascending ? 1 : -1));
      body.append(...known, ...rows.filter((row) => value(row, column) === "-"));
    }
  };
  for (const table of document.querySelectorAll("table")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(table, head, column));
      head.append(button);
    });
  }
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
})();
