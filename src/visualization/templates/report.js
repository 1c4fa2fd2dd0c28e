for (const button of document.querySelectorAll("table.sortable th button")) {
  button.addEventListener("click", () => {
    const header = button.closest("th");
    const table = header.closest("table");
    const column = [...header.parentNode.children].indexOf(header);
    const descending = header.getAttribute("aria-sort") !== "descending";
    for (const other of header.parentNode.children) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const key = (row) => Number(row.children[column].dataset.value);
    const rows = [...table.tBodies[0].rows].sort((a, b) => (descending ? key(b) - key(a) : key(a) - key(b)));
    table.tBodies[0].append(...rows);
  });
}
