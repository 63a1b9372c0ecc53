"""Second half of the page's script: steps, keys, filters and the reviewer's name.

A step waits for the response to the previous one, so a repeated key cannot decide an unseen item.
"""

SCRIPT = """
let busy = false, refused = false;

function random() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map(byte => byte.toString(16).padStart(2, '0')).join('');
}
// a window keeps its item on reload; another window gets another item
const holder = sessionStorage.holder ??= random();
let reviewer = localStorage.reviewer ?? '';
const which = () => Object.fromEntries(new FormData($('filter-form')));

async function post(step, content = {}) {
  const body = {reviewer, holder, queue: state.facts.queue, which: which(), ...content};
  let answer;
  try {
    answer = await fetch(`/api/${step}`, {
      method: 'POST', headers: {'Content-Type': 'application/json'},
      body: JSON.stringify(body)});
  } catch {
    throw {error: 'The server does not answer. Nothing was stored; try again.'};
  }
  const found = await answer.json();
  if (!answer.ok) throw {status: answer.status, ...found};
  return found;
}

// one step at a time; an error is shown and the item stays
async function step(action) {
  if (busy || refused || !reviewer) return;
  busy = true;
  $('card').setAttribute('aria-busy', true);
  $('message').hidden = true;
  try {
    await action();
  } catch (problem) {
    if (!problem.error) throw problem;
    refuse(problem);
  } finally {
    busy = false;
    $('card').removeAttribute('aria-busy');
  }
}

function refuse({status, error, decision}) {
  const text = error[0].toUpperCase() + error.slice(1);
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
  step(() => next('That item was already decided.'));
}

async function next(done = '') {
  const {item, progress} = await post('next');
  show(item, progress, done);
}

function show(item, progress, done) {
  showItem(item);
  showProgress(progress);
  const asked = item && `${attribute().title} of product ${item.product_id}, ${item.verdict}`;
  $('status').textContent = item ? `${done} Now: ${asked}.`.trim() : done;
  $(item ? 'question' : 'empty-title').focus({preventScroll: true});
  scrollTo(0, 0);
}

function decide(kind, values = []) {
  if (!state.item) return;
  step(async () => {
    const {id, product_id} = state.item, value = values.join('|');
    await post('decide', {item: id, kind, values});
    await next(`Stored for product ${product_id}: ${inWords({kind, value})}.`);
  });
}

// for an exclusive attribute a choice is the decision; otherwise it waits for Save
function choose(value) {
  if (busy || refused) return;
  if (attribute().exclusive) return decide('values', [value]);
  const at = state.chosen.indexOf(value);
  if (at < 0) state.chosen.push(value);
  else state.chosen.splice(at, 1);
  showProposals();
  $('status').textContent = state.chosen.length ? `Chosen: ${state.chosen.join(', ')}.`
    : 'Nothing is chosen.';
}

function pick(value) {
  closeSearch();
  choose(value);
  if (!attribute().exclusive) showSearch();
}

const save = () => state.chosen.length && decide('values', state.chosen);
const skip = () => state.item && step(async () => {
  await post('skip', {item: state.item.id});
  await next('Skipped.');
});
const undo = () => step(async () => {
  const {item, progress} = await post('undo');
  show(item, progress, 'Undone.');
});

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
    s: () => $('seller')?.click(), n: () => decide('none'), u: undo, h: toggleHeat,
    ' ': skip, '/': () => !refused && $('search').focus(), Enter: refused ? goOn : save,
  }[key.length > 1 ? key : key.toLowerCase()];
  if (!action && !proposal) return;
  event.preventDefault();
  if (proposal) choose(proposal[0]);
  else if (state.item || key === 'u') action();
}

function onSearchKey(event) {
  const steps = {ArrowDown: 1, ArrowUp: -1}[event.key];
  if (steps && state.found.length) {
    const from = state.active < 0 && steps < 0 ? 0 : state.active;
    state.active = (from + steps + state.found.length) % state.found.length;
    markActive();
  } else if (event.key === 'Enter') {
    if (state.active >= 0) pick(state.found[state.active]);
    else save();
  } else if (event.key === 'Escape') {
    closeSearch();
    $('question').focus();
  } else return;
  event.preventDefault();
}

function fillFilters() {
  for (const [name, values] of Object.entries(state.facts.choices)) {
    const options = values.map(value => {
      const text = name === 'attribute' ? state.facts.attributes[value].title : value;
      const option = element('option', text);
      option.value = value;
      return option;
    });
    const all = element('option', 'all');
    all.value = '';
    if (name === 'seller') $('sellers').replaceChildren(...options);
    else $(`f-${name}`).replaceChildren(all, ...options);
    $(`f-${name}`).parentElement.hidden = !values.length;
  }
}

function onFilter() {
  const set = Object.values(which()).filter(text => text).length;
  $('filtered').textContent = set ? `: ${set} set` : '';
  step(async () => {
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
  reviewer = $('name').value.trim().replace(/\\s+/g, ' ');
  if (!reviewer) return askName();
  localStorage.reviewer = reviewer;
  $('who').textContent = reviewer;
  $('who').ariaLabel = `Reviewer: ${reviewer}; change`;
  $('who').hidden = false;
  step(() => next());
}

async function start() {
  if (location.search) history.replaceState(null, '', '/');  // keep the token out of the history
  document.addEventListener('keydown', onKey);
  for (const [id, action] of Object.entries({'go-on': goOn, save, skip, undo, heat: toggleHeat,
    none: () => decide('none'), again: () => step(() => next()), who: askName}))
    $(id).onclick = action;
  $('clear').onclick = () => { $('filter-form').reset(); onFilter(); };
  $('filter-form').onchange = onFilter;
  $('filter-form').onsubmit = event => event.preventDefault();
  $('heat-value').onchange = () => { state.heat = true; showPhoto(); };
  $('search').onkeydown = onSearchKey;
  $('search').oninput = $('search').onfocus = showSearch;
  $('search').onblur = closeSearch;
  $('name-dialog').oncancel = event => {
    $('name').value = reviewer;
    if (!reviewer) event.preventDefault();
  };
  $('name-dialog').onclose = onName;
  try {
    const answer = await fetch('/api/facts');
    state.facts = await answer.json();
    if (!answer.ok) throw state.facts;
  } catch (problem) {
    return refuse({error: problem.error ?? 'The server does not answer; reload the page.'});
  }
  fillFilters();
  if (!reviewer) return askName();
  $('name').value = reviewer;
  onName();
}
start();
"""
