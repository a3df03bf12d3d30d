"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");

  // Tables: headings sort, ascending first; a filter hides the rows that do not hold all of its words.

  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent.toLowerCase() : Number(cell.dataset.value);
  };

  const sort = (table, column, heading) => {
    const direction = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const body = table.tBodies[0];
    const keyed = Array.from(body.rows, (row) => [value(row, column), row]);
    keyed.sort(([one], [other]) => (one < other ? -direction : one > other ? direction : 0));
    const sorted = document.createDocumentFragment();
    keyed.forEach(([, row]) => sorted.append(row));
    body.append(sorted);
    for (const other of table.tHead.rows[0].cells) {
      other.setAttribute("aria-sort", "none");
    }
    heading.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  };

  for (const table of document.querySelectorAll("main table")) {
    Array.from(table.tHead.rows[0].cells).forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      heading.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => sort(table, column, heading));
    });
    if (table.tBodies[0].rows.length > 40) {
      table.parentElement.classList.add("long");
    }
  }

  const filter = (input) => {
    const rows = Array.from(document.getElementById(input.dataset.filters).tBodies[0].rows);
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    const count = (number) => number.toLocaleString("en-US");
    const noun = rows.length === 1 ? "row" : "rows";
    document.querySelector(`output[data-counts="${input.dataset.filters}"]`).textContent =
      shown === rows.length ? `${count(shown)} ${noun}` : `${count(shown)} of ${count(rows.length)} ${noun}`;
  };

  for (const input of document.querySelectorAll("input[data-filters]")) {
    input.addEventListener("input", () => filter(input));
    filter(input); // browsers keep what was typed when a page is loaded again
  }

  // Memory map: picture and names point at each other, and at the details.

  const blocks = document.querySelectorAll("[data-block]");
  const details = document.querySelectorAll("[data-details]");

  const choose = (block) => {
    blocks.forEach((one) => one.classList.toggle("on", one.dataset.block === block));
    details.forEach((one) => one.classList.toggle("on", one.dataset.details === block));
  };

  for (const one of blocks) {
    for (const event of ["pointerenter", "focus", "click"]) {
      one.addEventListener(event, () => choose(one.dataset.block));
    }
  }
  if (blocks.length) {
    choose(blocks[0].dataset.block);
  }
})();
