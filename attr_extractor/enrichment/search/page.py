"""HTML, style and script of the search page; it loads nothing from other servers.

The script inserts sellers' texts as text, never as HTML. The chosen photo is drawn on a canvas,
as the page may load images only from its own server.
"""

from __future__ import annotations

from attr_extractor import html_page

STYLE = (
    html_page.STYLE
    + """
[hidden] { display: none !important } h1 { margin: 0 0 .6rem }
label { font-size: .8rem; color: var(--soft); display: block }
#ask { display: grid; gap: .6rem 1rem; align-items: end;
  grid-template-columns: repeat(auto-fit, minmax(min(15rem, 100%), 1fr)) }
select, input, input[type=search] { font: inherit; font-size: .95rem; width: 100%;
  min-height: 2.5rem; padding: .3rem .5rem; color: var(--text); background: var(--card);
  border: 1px solid var(--line); border-radius: .4rem }
.row { display: flex; gap: .5rem } .row button { font-size: .95rem; white-space: nowrap }
:focus-visible { outline: 2px solid var(--bar); outline-offset: 2px }
#filters div { display: grid; gap: .5rem .8rem; padding: .4rem 0;
  grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)) }
#asked { display: flex; gap: .8rem; align-items: center; margin: .8rem 0 }
#asked canvas, #asked img { height: 8rem; max-width: 40vw; object-fit: contain; background: #fff;
  border: 1px solid var(--line); border-radius: .5rem }
#status { color: var(--soft); overflow-wrap: anywhere; min-height: 1.5em; margin: 0 }
#status.bad { color: var(--bad) }
#found { list-style: none; margin: 0; padding: 0; display: grid; gap: .7rem;
  grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)) }
#found button { display: block; width: 100%; padding: .4rem; text-align: left; height: 100% }
#found img { display: block; width: 100%; aspect-ratio: 3 / 4; object-fit: contain;
  background: #fff; border-radius: .3rem }
#found b, #found span { display: block; overflow-wrap: anywhere; font-size: .87rem }
#found span { color: var(--soft); font-size: .8rem; line-height: 1.35 }
@media (max-width: 46rem) { body { padding: .7rem } #found {
  grid-template-columns: 1fr 1fr } }
"""
)

SCRIPT = """"use strict";
const $ = id => document.getElementById(id);
const bytes = file => new Promise((done, fail) => {
  const reader = new FileReader();
  reader.onload = () => done(reader.result.slice(reader.result.indexOf(',') + 1));
  reader.onerror = fail;
  reader.readAsDataURL(file);
});
let facts = null, asked = null, latest = 0;

function say(text, bad = false) {
  $('status').textContent = text;
  $('status').className = bad ? 'bad' : '';
}

async function search() {
  if (!asked) return;
  const mine = ++latest;
  const filters = [...document.querySelectorAll('#filters select')]
    .filter(select => select.value).map(select => select.name + select.value);
  $('filtered').textContent = filters.length ? ` (${filters.length})` : '';
  say('Searching\\u2026');
  let answer, content;
  try {
    answer = await fetch('/api/search', {
      method: 'POST', headers: {'Content-Type': 'application/json'},
      body: JSON.stringify({...asked, filters})});
    content = await answer.json();
  } catch {
    if (mine === latest) say('The server does not answer; try again.', true);
    return;
  }
  if (mine !== latest) return;
  if (!answer.ok) {
    $('found').replaceChildren();
    say(content.error, true);
    return;
  }
  show(content.found, filters.map(filter => filter.split(/!?=/)[0]));
}

function show(found, attributes) {
  $('found').replaceChildren(...found.map(each => {
    const item = document.createElement('li'), button = document.createElement('button');
    const picture = document.createElement('img');
    picture.src = `/photo/${each.photo}`;
    picture.alt = '';
    picture.loading = 'lazy';
    button.append(picture);
    const line = (kind, text) => {
      const element = document.createElement(kind);
      element.textContent = text;
      button.append(element);
    };
    line('b', each.product_id);
    line('span', `similarity ${each.similarity.toFixed(3)}`);
    const known = [facts.category, ...attributes].filter((a, i, all) => all.indexOf(a) === i);
    known.filter(name => each.seller[name]).forEach(name =>
      line('span', `${facts.attributes[name].title}: ${each.seller[name].replaceAll('|', ', ')}`));
    button.type = 'button';
    button.title = 'Search with this product';
    button.onclick = () => byProduct(each.product_id);
    item.append(button);
    return item;
  }));
  say(found.length ? `${found.length} products, the nearest first.`
    : 'No product matches the filters.');
}

async function byPhoto(file) {
  if (file.size > facts.most_bytes) {
    say(`The photo has more than ${facts.most_bytes / 2 ** 20} MiB.`, true);
    return;
  }
  asked = {photo: await bytes(file)};
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
  asked = {product: id};
  $('product').value = id;
  $('photo').value = '';
  $('of-photo').hidden = true;
  $('of-product').hidden = false;
  $('of-product').src = `/product?id=${encodeURIComponent(id)}`;
  scrollTo({top: 0});
  await search();
}

async function start() {
  facts = await (await fetch('/api/facts')).json();
  $('size').textContent = `${facts.photos.toLocaleString('en')} photos`;
  for (const [name, {title, values}] of Object.entries(facts.attributes)) {
    const label = document.createElement('label'), select = document.createElement('select');
    select.name = name;
    select.append(new Option('any', ''));
    for (const [sign, words] of [['=', 'is'], ['!=', 'is not']]) {
      const group = document.createElement('optgroup');
      group.label = words;
      values.forEach(value => group.append(
        new Option(sign === '=' ? value : `not ${value}`, sign + value)));
      select.append(group);
    }
    select.onchange = search;
    label.append(title, select);
    $('attributes').append(label);
  }
  $('photo').onchange = () => $('photo').files.length && byPhoto($('photo').files[0]);
  $('product-form').onsubmit = event => {
    event.preventDefault();
    if ($('product').value.trim()) byProduct($('product').value.trim());
  };
  $('of-product').onerror = () => { $('of-product').hidden = true; };
  say('Choose a photo, or type a product id.');
}
start();
"""

HTML = (
    "<!doctype html><html lang=en><head><meta charset=utf-8>"
    '<meta name=viewport content="width=device-width, initial-scale=1">'
    "<title>Search by photo</title><link rel=stylesheet href=/search.css></head><body>"
    """
<h1>Search by photo</h1><p class=muted id=size>&nbsp;</p>
<div id=ask>
<div><label for=photo>Photo</label><input id=photo type=file accept="image/*"></div>
<form id=product-form autocomplete=off><label for=product>or product id</label>
<div class=row><input id=product type=search><button type=submit>Search</button></div></form>
</div>
<details id=filters><summary>Filters<span id=filtered></span></summary>
<div id=attributes></div></details>
<div id=asked><canvas id=of-photo hidden></canvas><img id=of-product alt="" hidden>
<p id=status role=status aria-live=polite></p></div>
<main><ol id=found></ol></main>
<noscript><p>This page needs JavaScript.</p></noscript>
<script src=/search.js></script></body></html>
"""
)
