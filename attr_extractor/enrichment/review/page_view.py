"""First half of the page's script: display of an item and of the progress.

Texts are inserted as text, never as HTML.
"""

SCRIPT = """
const $ = id => document.getElementById(id);
const state = {facts: null, item: null, chosen: [], photo: 0, heat: false, found: [], active: -1};

function element(tag, text = '', css = '') {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = css;
  return made;
}
const percent = score => score === null ? '' : `${Math.round(100 * score)} %`;
const attribute = () => state.facts.attributes[state.item.attribute];
const given = () => state.item.given ? state.item.given.split('|') : [];
const words = {seller: 'the seller\\u2019s value stays', none: 'none of them'};
const inWords = decision => words[decision.kind] ?? decision.value.split('|').join(', ');

function answerButton(key, value, score, pressed = null) {
  const button = element('button', '', 'answer');
  button.type = 'button';
  button.setAttribute('aria-keyshortcuts', key);
  const hint = element('kbd', key);
  hint.ariaHidden = true;
  const text = element('span', value, 'value');
  button.append(hint, text, element('span', percent(score), 'score'));
  if (score !== null) {
    const track = element('span', '', 'track');
    track.append(element('i'));
    track.firstChild.style.width = percent(score).replace(' ', '');
    button.append(track);
  }
  if (pressed !== null) button.setAttribute('aria-pressed', pressed);
  return button;
}

function showItem(item) {
  Object.assign(state, {item, chosen: [], photo: 0});
  $('work').hidden = !item;
  $('empty').hidden = !!item;
  closeSearch();
  if (!item) return;
  const {title, exclusive} = attribute();
  $('verdict').textContent = item.verdict;
  $('verdict').className = `badge ${item.verdict}`;
  const facts = [item.category || 'category unknown', `product ${item.product_id}`];
  if (item.seller) facts.push(`seller ${item.seller}`);
  $('facts').textContent = [...facts, `row ${item.row.toLocaleString('en')}`].join(' \\u00b7 ');
  $('question').textContent = title;
  $('proposals-title').textContent = exclusive ? 'Model\\u2019s proposals'
    : 'Model\\u2019s proposals: several may be right';
  showSeller();
  showProposals();
  showPhotoChoice();
  showHeatChoice();
  showPhoto();
}

function showSeller() {
  const {given_score} = state.item;
  if (!given().length) {
    $('given').replaceChildren(element('p', 'none in the schema', 'muted'));
    return;
  }
  const button = answerButton('s', given().join(', '), given_score);
  button.id = 'seller';
  button.prepend(element('span', 'Keep the seller\\u2019s:', 'unseen'));
  button.onclick = () => decide('seller');
  $('given').replaceChildren(button);
}

function showProposals() {
  const several = !attribute().exclusive;
  const focused = document.activeElement?.dataset?.value;
  $('proposals').replaceChildren(...state.item.proposed.map(([value, score], i) => {
    const pressed = several ? state.chosen.includes(value) : null;
    const button = answerButton(`${i + 1}`, value, score, pressed);
    button.dataset.value = value;
    if (given().includes(value))
      button.querySelector('.value').append(element('span', 'seller\\u2019s', 'tag'));
    button.onclick = () => choose(value);
    const line = element('li');
    line.append(button);
    return line;
  }));
  if (focused)
    [...$('proposals').querySelectorAll('button')].find(b => b.dataset.value === focused)?.focus();
  $('save').hidden = !several || !state.chosen.length;
  const hint = element('kbd', 'Enter');
  hint.ariaHidden = true;
  $('save').replaceChildren(`Save ${state.chosen.join(', ')} `, hint);
}

function showPhotoChoice() {
  const {photos} = state.item;
  $('photo-choice').hidden = photos < 2;
  $('photo-choice').replaceChildren(...Array.from({length: photos}, (_, i) => {
    const button = element('button', `Photo ${i + 1}`);
    button.type = 'button';
    button.setAttribute('aria-pressed', i === state.photo);
    button.onclick = () => { state.photo = i; showPhotoChoice(); showPhoto(); };
    return button;
  }));
}

function showHeatChoice() {
  $('heat-row').hidden = !state.facts.heat || !state.item.photos;
  const values = new Set([...state.item.proposed.map(([value]) => value), ...given()]);
  $('heat-value').replaceChildren(...[...values].map(value => element('option', value)));
}

function showPhoto() {
  const {id, photos, product_id, error} = state.item, image = $('photo');
  const number = photos > 1 ? ` ${state.photo + 1} of ${photos}` : '';
  const value = $('heat-value').value;
  const heat = state.heat && state.facts.heat && value;
  const plain = `/photo/${id}/${state.photo}`;
  const source = heat ? `/heat/${id}/${state.photo}?value=${encodeURIComponent(value)}` : plain;
  $('heat').setAttribute('aria-pressed', state.heat);
  image.alt = `Photo${number} of product ${product_id}` + (heat ? `, heat of ${value}` : '');
  image.hidden = !photos;
  const unread = error && `The model could not read: ${error}`;
  if (!photos) return note('The row lists no photo', true);
  note(heat ? 'Heat map is being computed \\u2026' : unread);
  image.onload = () => note(heat ? `Red: evidence for ${value}` : unread);
  image.onerror = async () => {
    const why = await reason(source);
    if (state.item?.id !== id) return;
    note(heat ? why : `Photo${number} cannot be shown: ${why}`, true);
    image.onload = () => 0;
    if (heat) image.src = plain;
    else image.hidden = true;
  };
  image.src = source;
}

function note(text, bad = false) {
  $('photo-note').textContent = text;
  $('photo-note').className = bad ? 'bad' : '';
}

async function reason(source) {
  try {
    const answer = await fetch(source);
    return answer.ok ? 'the file is not an image' : (await answer.json()).error;
  } catch {
    return 'the server does not answer';
  }
}

function showProgress({done, left, mine, with_others}) {
  const others = with_others ? ` (${with_others} with others)` : '';
  const count = number => number.toLocaleString('en');
  $('progress').textContent =
    `${count(done)} done \\u00b7 ${count(left)} left${others} \\u00b7 ${count(mine)} mine`;
  $('bar').max = Math.max(1, done + left);
  $('bar').value = done;
  if (!state.item) {
    $('empty-title').textContent = left ? 'No item is free now' : 'Nothing left to review here';
    $('empty-text').textContent = left ? 'Other reviewers have the remaining items.'
      : 'Clear the filters, or close the page: every decision is stored.';
  }
}

// search among all values of the attribute
function showSearch() {
  const asked = $('search').value.trim().toLowerCase().split(/\\s+/);
  state.found = attribute().values.filter(value =>
    asked.every(word => value.toLowerCase().includes(word)));
  // Enter picks the active value if there is a search text; otherwise it saves
  state.active = state.found.length && $('search').value ? 0 : -1;
  $('values').replaceChildren(...state.found.map((value, i) => {
    const line = element('li', value);
    line.id = `value-${i}`;
    line.role = 'option';
    if (state.item.not_allowed.includes(value))
      line.append(element('span', `not for ${state.item.category}`, 'tag'));
    if (state.chosen.includes(value)) line.append(element('span', 'chosen', 'tag'));
    line.onmousedown = event => event.preventDefault();
    line.onclick = () => pick(value);
    return line;
  }));
  if (!state.found.length) {
    const line = element('li', 'no such value', 'muted');
    line.role = 'option';
    line.ariaDisabled = true;
    $('values').append(line);
  }
  $('values').hidden = false;
  $('values').scrollIntoView({block: 'nearest'});
  $('search').ariaExpanded = true;
  markActive();
}

function markActive() {
  [...$('values').children].forEach((line, i) => line.ariaSelected = i === state.active);
  const active = $(`value-${state.active}`);
  if (active) $('search').setAttribute('aria-activedescendant', active.id);
  else $('search').removeAttribute('aria-activedescendant');
  active?.scrollIntoView({block: 'nearest'});
}

function closeSearch() {
  $('search').value = '';
  $('values').hidden = true;
  $('search').ariaExpanded = false;
  $('search').removeAttribute('aria-activedescendant');
}
"""
