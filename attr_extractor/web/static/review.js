// Steps of the review page, its keys, the filters and the reviewer's name.
// A step waits for the response to the previous one, so a repeated key decides one item only.
import {$, RequestError, request} from './app.js';
import {
  actions, attribute, closeSearch, inWords, showActive, showItem, showPhoto, showProgress,
  showProposals, showSearch, state,
} from './review_view.js';

let busy = false;  // a step waits for its response
let refused = false;  // another reviewer has decided the item

function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map(byte => byte.toString(16).padStart(2, '0')).join('');
}
// a window keeps its item on reload; another window gets another item
const holder = sessionStorage.holder ??= randomId();
let reviewer = localStorage.reviewer ?? '';
const filter = () => Object.fromEntries(new FormData($('filter-form')));

function post(step, content = {}) {
  const body = {reviewer, holder, queue: state.page.queue, filter: filter(), ...content};
  const offline = 'The server does not answer. Nothing was stored; try again.';
  return request(`/api/${step}`, body, offline);
}

// Runs one step at a time; an error is shown and the item stays.
async function runStep(action) {
  if (busy || refused || !reviewer) return;
  busy = true;
  $('card').setAttribute('aria-busy', true);
  $('message').hidden = true;
  try {
    await action();
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    showError(error);
  } finally {
    busy = false;
    $('card').removeAttribute('aria-busy');
  }
}

function showError({message, content: {decision}}) {
  const text = message[0].toUpperCase() + message.slice(1);
  const time = decision ? new Date(1000 * decision.at).toLocaleTimeString() : '';
  refused = !!decision;
  $('message-text').textContent = decision
    ? `${text}, at ${time}: ${inWords(decision)}. Your answer was not stored.` : text;
  $('go-on').hidden = !decision;
  $('message').hidden = false;
  if (decision) $('go-on').focus();
}

function goOn() {
  refused = false;
  runStep(() => next('That item was already decided.'));
}

// `done` says what the step before did.
async function next(done = '') {
  const {item, progress} = await post('next');
  show(item, progress, done);
}

function show(item, progress, done) {
  showItem(item);
  showProgress(progress);
  const question = item && `${attribute().title} of product ${item.product_id}, ${item.verdict}`;
  $('status').textContent = item ? `${done} Now: ${question}.`.trim() : done;
  $(item ? 'question' : 'empty-title').focus({preventScroll: true});
  scrollTo(0, 0);
}

function decide(kind, values = []) {
  if (!state.item) return;
  runStep(async () => {
    const {id, product_id} = state.item;
    await post('decide', {item: id, kind, values});
    await next(`Stored for product ${product_id}: ${inWords({kind, value: values.join('|')})}.`);
  });
}

// For an exclusive attribute a choice is the decision; otherwise it waits for Save.
function choose(value) {
  if (busy || refused) return;
  if (attribute().exclusive) {
    decide('values', [value]);
    return;
  }
  const at = state.chosen.indexOf(value);
  if (at < 0) state.chosen.push(value);
  else state.chosen.splice(at, 1);
  showProposals();
  $('status').textContent =
    state.chosen.length ? `Chosen: ${state.chosen.join(', ')}.` : 'Nothing is chosen.';
}

function pick(value) {
  closeSearch();
  choose(value);
  if (!attribute().exclusive) showSearch();
}

function save() {
  if (state.chosen.length) decide('values', state.chosen);
}

function skip() {
  if (!state.item) return;
  runStep(async () => {
    await post('skip', {item: state.item.id});
    await next('Skipped.');
  });
}

function undo() {
  runStep(async () => {
    const {item, progress} = await post('undo');
    show(item, progress, 'Undone.');
  });
}

function toggleHeat() {
  if ($('heat-row').hidden) return;
  state.heat = !state.heat;
  showPhoto();
}

function onKey(event) {
  const {key, target} = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || $('name-dialog').open)
    return;
  if (target.matches('input, select, textarea')) return;
  const onButton = target.matches('button, summary, a');
  if (onButton && (key === ' ' || key === 'Enter')) return;  // the browser clicks it
  const proposal = state.item?.proposed[key - 1];
  const action = {
    s: () => $('seller')?.click(),
    n: () => decide('none'),
    u: undo,
    h: toggleHeat,
    ' ': skip,
    '/': () => !refused && $('search').focus(),
    Enter: refused ? goOn : save,
  }[key.length > 1 ? key : key.toLowerCase()];
  if (!action && !proposal) return;
  event.preventDefault();
  if (proposal) choose(proposal[0]);
  else if (state.item || key === 'u') action();
}

function onSearchKey(event) {
  const move = {ArrowDown: 1, ArrowUp: -1}[event.key];
  const {matches} = state;
  if (move && matches.length) {
    const from = state.active < 0 && move < 0 ? 0 : state.active;
    state.active = (from + move + matches.length) % matches.length;
    showActive();
  } else if (event.key === 'Enter') {
    if (state.active >= 0) pick(matches[state.active]);
    else save();
  } else if (event.key === 'Escape') {
    closeSearch();
    $('question').focus();
  } else return;
  event.preventDefault();
}

function fillFilters() {
  for (const [name, values] of Object.entries(state.page.choices)) {
    const options = values.map(value =>
      new Option(name === 'attribute' ? state.page.attributes[value].title : value, value));
    if (name === 'seller') $('sellers').replaceChildren(...options);
    else $(`f-${name}`).replaceChildren(new Option('all', ''), ...options);
    $(`f-${name}`).parentElement.hidden = !values.length;
  }
}

function onFilter() {
  const count = Object.values(filter()).filter(text => text).length;
  $('filtered').textContent = count ? `: ${count} set` : '';
  runStep(async () => {
    const focused = document.activeElement;
    await next('Filtered.');
    if ($('filter-form').contains(focused)) focused.focus();
  });
}

function askName() {
  $('name').value = reviewer;
  $('name-dialog').showModal();
}

function onName() {
  reviewer = $('name').value.trim().replace(/\s+/g, ' ');
  if (!reviewer) {
    askName();
    return;
  }
  localStorage.reviewer = reviewer;
  $('who').textContent = reviewer;
  $('who').ariaLabel = `Reviewer: ${reviewer}; change`;
  $('who').hidden = false;
  runStep(() => next());
}

function addListeners() {
  document.addEventListener('keydown', onKey);
  const clicks = {
    'go-on': goOn, save, skip, undo, heat: toggleHeat, none: () => decide('none'),
    again: () => runStep(() => next()), who: askName,
  };
  for (const [id, action] of Object.entries(clicks)) $(id).onclick = action;
  $('clear').onclick = () => {
    $('filter-form').reset();
    onFilter();
  };
  $('filter-form').onchange = onFilter;
  $('filter-form').onsubmit = event => event.preventDefault();
  $('heat-value').onchange = () => {
    state.heat = true;
    showPhoto();
  };
  $('search').onkeydown = onSearchKey;
  $('search').oninput = $('search').onfocus = showSearch;
  $('search').onblur = closeSearch;
  $('name-dialog').oncancel = event => {
    $('name').value = reviewer;
    if (!reviewer) event.preventDefault();
  };
  $('name-dialog').onclose = onName;
}

async function start() {
  if (location.search) history.replaceState(null, '', '/');  // keep the token out of the history
  Object.assign(actions, {decide, choose, pick});
  addListeners();
  try {
    state.page = await request('/api/page', undefined, 'The server does not answer; reload the page.');
  } catch (error) {
    showError(error);
    return;
  }
  fillFilters();
  if (!reviewer) {
    askName();
    return;
  }
  $('name').value = reviewer;
  onName();
}

start();
