// Tables: a click on a column's name sorts its rows, another one turns the order round. Rows of <tfoot> stay.
"use strict";
(() => {
  const collator = new Intl.Collator("en", { numeric: true });

  // the number that a cell stands for, null for one that was not measured, else its text
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    if ("value" in cell.dataset) return cell.dataset.value === "" ? null : Number(cell.dataset.value);
    return cell.textContent;
  };

  const compare = (a, b) => (typeof a === "number" ? a - b : collator.compare(a, b));

  const sortBy = (table, column, descending) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, value: valueOf(row, column) }));
    rows.sort((a, b) => {
      if (a.value === null || b.value === null) return (a.value === null) - (b.value === null); // always last
      return (descending ? -1 : 1) * compare(a.value, b.value);
    });
    body.append(...rows.map(({ row }) => row));
    for (const [at, head] of [...table.tHead.rows[0].cells].entries()) {
      if (at === column) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const [column, head] of [...table.tHead.rows[0].cells].entries()) {
      head.querySelector("button").addEventListener("click", () => {
        const sorted = head.getAttribute("aria-sort");
        const numbers = table.tBodies[0].rows[0].cells[column].dataset.value !== undefined;
        // numbers begin with the highest, names with the first
        sortBy(table, column, sorted ? sorted === "ascending" : numbers);
      });
    }
  }
})();
