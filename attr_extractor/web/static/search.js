// The search page: a query by photo or by product, filters, and the nearest products.
import {$, RequestError, button, element, request} from './app.js';

let page = null;  // the response of /api/page
let query = null;  // {photo: base64} or {product: id}
let searches = 0;  // a response to any but the latest search is ignored

function showStatus(text, bad = false) {
  $('status').textContent = text;
  $('status').className = bad ? 'bad' : '';
}

async function search() {
  if (!query) return;
  const number = ++searches;
  const filters = [...document.querySelectorAll('#attributes select')]
    .filter(select => select.value).map(select => select.name + select.value);
  $('filtered').textContent = filters.length ? ` (${filters.length})` : '';
  showStatus('Searching…');
  try {
    const {hits} = await request('/api/search', {...query, filters});
    if (number === searches) showHits(hits, filters.map(filter => filter.split(/!?=/)[0]));
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    if (number !== searches) return;
    if (error.content.error) $('hits').replaceChildren();
    showStatus(error.message, true);
  }
}

// Shows products with the seller's category and the filtered attributes.
function showHits(hits, filtered) {
  const attributes = [...new Set([page.category, ...filtered])];
  const items = hits.map(hit => {
    const picture = document.createElement('img');
    picture.src = `/photo/${hit.photo}`;
    picture.alt = '';
    picture.loading = 'lazy';
    const values = attributes.filter(name => hit.seller[name]).map(name =>
      element('span', `${page.attributes[name].title}: ${hit.seller[name].replaceAll('|', ', ')}`));
    const product = button();
    product.append(picture, element('b', hit.product_id),
      element('span', `similarity ${hit.similarity.toFixed(3)}`), ...values);
    product.title = 'Search with this product';
    product.onclick = () => byProduct(hit.product_id);
    const item = element('li');
    item.append(product);
    return item;
  });
  $('hits').replaceChildren(...items);
  showStatus(hits.length ? `${hits.length} products, the nearest first.`
    : 'No product matches the filters.');
}

const base64 = file => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(',') + 1));
  reader.onerror = reject;
  reader.readAsDataURL(file);
});

async function byPhoto(file) {
  if (file.size > page.most_bytes) {
    showStatus(`The photo has more than ${page.most_bytes / 2 ** 20} MiB.`, true);
    return;
  }
  query = {photo: await base64(file)};
  $('product').value = '';
  $('of-product').hidden = true;
  const canvas = $('of-photo');
  try {
    const bitmap = await createImageBitmap(file, {resizeHeight: 320});
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    canvas.getContext('2d').drawImage(bitmap, 0, 0);
    canvas.hidden = false;
  } catch {  // a format that the browser does not show; the server may still read it
    canvas.hidden = true;
  }
  await search();
}

async function byProduct(id) {
  query = {product: id};
  $('product').value = id;
  $('photo').value = '';
  $('of-photo').hidden = true;
  $('of-product').hidden = false;
  $('of-product').src = `/product?id=${encodeURIComponent(id)}`;
  scrollTo({top: 0});
  await search();
}

// Returns a menu of an attribute's values, each as `is` and as `is not`.
function filterMenu(name, {title, values}) {
  const select = document.createElement('select');
  select.name = name;
  select.append(new Option('any', ''));
  for (const [sign, label] of [['=', 'is'], ['!=', 'is not']]) {
    const group = document.createElement('optgroup');
    group.label = label;
    group.append(...values.map(value =>
      new Option(sign === '=' ? value : `not ${value}`, sign + value)));
    select.append(group);
  }
  select.onchange = search;
  const label = element('label', title);
  label.append(select);
  return label;
}

async function start() {
  try {
    page = await request('/api/page', undefined, 'The server does not answer; reload the page.');
  } catch (error) {
    showStatus(error.message, true);
    return;
  }
  $('size').textContent = `${page.photos.toLocaleString('en')} photos`;
  $('attributes').append(...Object.entries(page.attributes).map(([name, attribute]) =>
    filterMenu(name, attribute)));
  $('photo').onchange = () => $('photo').files.length && byPhoto($('photo').files[0]);
  $('product-form').onsubmit = event => {
    event.preventDefault();
    if ($('product').value.trim()) byProduct($('product').value.trim());
  };
  $('of-product').onerror = () => { $('of-product').hidden = true; };
  showStatus('Choose a photo, or type a product id.');
}

start();
