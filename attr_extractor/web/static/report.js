// Sort and search tables, copy blocks.
const all = (query, root = document) => [...root.querySelectorAll(query)];
const number = text => {
  const found = parseFloat(text.replace(/[, ]/g, ''));
  return isNaN(found) ? -Infinity : found;
};
all('table.sortable').forEach(table => all('th', table).forEach((head, column) => head.onclick =
  () => {
  const down = head.ariaSort !== 'descending', numeric = head.className === 'num';
  all('th', table).forEach(other => other.removeAttribute('aria-sort'));
  head.ariaSort = down ? 'descending' : 'ascending';
  const rows = [...table.tBodies[0].rows].map(row => [row, row.cells[column].textContent]);
  rows.sort(([, a], [, b]) => numeric ? number(a) - number(b) : b.localeCompare(a));
  if (down) rows.reverse();
  table.tBodies[0].append(...rows.map(([row]) => row));
}));
all('input[data-search]').forEach(input => {
  const root = document.getElementById(input.dataset.search);
  const blocks = all('details', root).length ? all('details', root) : [root];
  const opened = blocks.filter(block => block.open);
  input.oninput = () => {
    const words = input.value.toLowerCase().split(' ').filter(word => word);
    blocks.forEach(block => {
      const title = block.querySelector('summary')?.firstChild.textContent ?? '';
      let found = 0;
      all('tbody tr', block).forEach(row => {
        const text = (title + ' ' + row.textContent).toLowerCase();
        row.hidden = !words.every(word => text.includes(word));
        found += !row.hidden;
      });
      if (block === root) return;
      block.hidden = !found;
      block.open = words.length ? found : opened.includes(block);
    });
  };
});
all('pre').forEach(block => {
  const button = document.createElement('button');
  button.textContent = 'Copy';
  button.onclick = () => {
    getSelection().selectAllChildren(block);
    navigator.clipboard?.writeText(block.textContent).then(() => button.textContent = 'Copied');
  };
  block.before(button);
});
