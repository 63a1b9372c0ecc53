// Display of the review page: an item, its photos, its answers, and the progress.
import {$, button, element} from './app.js';

// page: the response of /api/page; item: the item on the page, null if there is none
// chosen: values that wait for Save; photo: index of the shown photo; heat: show the heat map
// matches: values that match the search; active: index of the highlighted match, -1 for none
export const state = {
  page: null, item: null, chosen: [], photo: 0, heat: false, matches: [], active: -1,
};

// The functions of the buttons, set by review.js: decide(kind, values), choose(value), pick(value).
export const actions = {};

const count = number => number.toLocaleString('en');
const percent = score => score === null ? '' : `${Math.round(100 * score)} %`;
const sellerValues = () => state.item.given ? state.item.given.split('|') : [];
const words = {seller: 'the seller’s value stays', none: 'none of them'};
export const attribute = () => state.page.attributes[state.item.attribute];
export const inWords = decision => words[decision.kind] ?? decision.value.split('|').join(', ');

function keyHint(key) {
  const hint = element('kbd', key);
  hint.ariaHidden = true;
  return hint;
}

// `pressed` is null for a button that decides at once.
function answerButton(key, value, score, pressed = null) {
  const answer = button('answer');
  answer.setAttribute('aria-keyshortcuts', key);
  const text = element('span', value, 'value');
  answer.append(keyHint(key), text, element('span', percent(score), 'score'));
  if (score !== null) {
    const track = element('span', '', 'track');
    track.append(element('i'));
    track.firstChild.style.width = percent(score).replace(' ', '');
    answer.append(track);
  }
  if (pressed !== null) answer.setAttribute('aria-pressed', pressed);
  return answer;
}

export function showItem(item) {
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
  $('facts').textContent = [...facts, `row ${count(item.row)}`].join(' · ');
  $('question').textContent = title;
  $('proposals-title').textContent =
    exclusive ? 'Model’s proposals' : 'Model’s proposals: several may be right';
  showSellerValue();
  showProposals();
  showToldBy();
  showPhotoChoice();
  showHeatChoice();
  showPhoto();
}

function showSellerValue() {
  const values = sellerValues();
  if (!values.length) {
    $('given').replaceChildren(element('p', 'none in the schema', 'muted'));
    return;
  }
  const keep = answerButton('s', values.join(', '), state.item.given_score);
  keep.id = 'seller';
  keep.prepend(element('span', 'Keep the seller’s:', 'unseen'));
  keep.onclick = () => actions.decide('seller');
  $('given').replaceChildren(keep);
}

// What the first proposal rests on beside the photo.
function showToldBy() {
  const {told_by, proposed} = state.item;
  $('told-by').hidden = !told_by;
  $('told-by').textContent = told_by && `${proposed[0][0]}: told by ${told_by}`;
}

export function showProposals() {
  const several = !attribute().exclusive;
  const focused = document.activeElement?.dataset?.value;
  const lines = state.item.proposed.map(([value, score], i) => {
    const pressed = several ? state.chosen.includes(value) : null;
    const answer = answerButton(`${i + 1}`, value, score, pressed);
    answer.dataset.value = value;
    if (sellerValues().includes(value))
      answer.querySelector('.value').append(element('span', 'seller’s', 'tag'));
    answer.onclick = () => actions.choose(value);
    const line = element('li');
    line.append(answer);
    return line;
  });
  $('proposals').replaceChildren(...lines);
  if (focused)
    [...$('proposals').querySelectorAll('button')].find(b => b.dataset.value === focused)?.focus();
  $('save').hidden = !several || !state.chosen.length;
  $('save').replaceChildren(`Save ${state.chosen.join(', ')} `, keyHint('Enter'));
}

function showPhotoChoice() {
  const {photos} = state.item;
  $('photo-choice').hidden = photos < 2;
  const buttons = Array.from({length: photos}, (_, i) => {
    const choice = button();
    choice.textContent = `Photo ${i + 1}`;
    choice.setAttribute('aria-pressed', i === state.photo);
    choice.onclick = () => {
      state.photo = i;
      showPhotoChoice();
      showPhoto();
    };
    return choice;
  });
  $('photo-choice').replaceChildren(...buttons);
}

function showHeatChoice() {
  $('heat-row').hidden = !state.page.heat || !state.item.photos;
  const values = new Set([...state.item.proposed.map(([value]) => value), ...sellerValues()]);
  $('heat-value').replaceChildren(...[...values].map(value => element('option', value)));
}

export function showPhoto() {
  const {id, photos, product_id, error} = state.item, image = $('photo');
  const number = photos > 1 ? ` ${state.photo + 1} of ${photos}` : '';
  const value = $('heat-value').value;
  const heat = state.heat && state.page.heat && value;
  const plain = `/photo/${id}/${state.photo}`;
  const source = heat ? `/heat/${id}/${state.photo}?value=${encodeURIComponent(value)}` : plain;
  $('heat').setAttribute('aria-pressed', state.heat);
  image.alt = `Photo${number} of product ${product_id}` + (heat ? `, heat of ${value}` : '');
  image.hidden = !photos;
  const unread = error && `The model could not read: ${error}`;
  if (!photos) {
    showNote('The row lists no photo', true);
    return;
  }
  showNote(heat ? 'Heat map is being computed …' : unread);
  image.onload = () => showNote(heat ? `Red: evidence for ${value}` : unread);
  image.onerror = async () => {
    const why = await reasonOf(source);
    if (state.item?.id !== id) return;
    showNote(heat ? why : `Photo${number} cannot be shown: ${why}`, true);
    image.onload = null;
    if (heat) image.src = plain;
    else image.hidden = true;
  };
  image.src = source;
}

function showNote(text, bad = false) {
  $('photo-note').textContent = text;
  $('photo-note').className = bad ? 'bad' : '';
}

// Returns why a photo cannot be shown.
async function reasonOf(source) {
  try {
    const response = await fetch(source);
    return response.ok ? 'the file is not an image' : (await response.json()).error;
  } catch {
    return 'the server does not answer';
  }
}

export function showProgress({done, left, mine, with_others}) {
  const others = with_others ? ` (${with_others} with others)` : '';
  $('progress').textContent =
    `${count(done)} done · ${count(left)} left${others} · ${count(mine)} mine`;
  $('bar').max = Math.max(1, done + left);
  $('bar').value = done;
  if (!state.item) {
    $('empty-title').textContent = left ? 'No item is free now' : 'Nothing left to review here';
    $('empty-text').textContent = left ? 'Other reviewers have the remaining items.'
      : 'Clear the filters, or close the page: every decision is stored.';
  }
}

// The search among all values of the attribute.
export function showSearch() {
  const text = $('search').value.trim().toLowerCase();
  state.matches = attribute().values.filter(value =>
    text.split(/\s+/).every(word => value.toLowerCase().includes(word)));
  // Enter picks the active value if there is a search text; otherwise it saves
  state.active = state.matches.length && $('search').value ? 0 : -1;
  const lines = state.matches.map((value, i) => {
    const line = element('li', value);
    line.id = `value-${i}`;
    line.role = 'option';
    if (state.item.not_allowed.includes(value))
      line.append(element('span', `not for ${state.item.category}`, 'tag'));
    if (state.chosen.includes(value)) line.append(element('span', 'chosen', 'tag'));
    line.onmousedown = event => event.preventDefault();  // keeps the focus in the search box
    line.onclick = () => actions.pick(value);
    return line;
  });
  if (!lines.length) {
    const line = element('li', 'no such value', 'muted');
    line.role = 'option';
    line.ariaDisabled = true;
    lines.push(line);
  }
  $('values').replaceChildren(...lines);
  $('values').hidden = false;
  $('values').scrollIntoView({block: 'nearest'});
  $('search').ariaExpanded = true;
  showActive();
}

export function showActive() {
  [...$('values').children].forEach((line, i) => { line.ariaSelected = i === state.active; });
  const active = $(`value-${state.active}`);
  if (active) $('search').setAttribute('aria-activedescendant', active.id);
  else $('search').removeAttribute('aria-activedescendant');
  active?.scrollIntoView({block: 'nearest'});
}

export function closeSearch() {
  $('search').value = '';
  $('values').hidden = true;
  $('search').ariaExpanded = false;
  $('search').removeAttribute('aria-activedescendant');
}
