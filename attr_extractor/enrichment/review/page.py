"""HTML and style of the review page: one page for all items, filled by its script.

It loads nothing from other servers and contains no seller's text; the script inserts that as text.
"""

from __future__ import annotations

from attr_extractor import html_page
from attr_extractor.enrichment.review import page_steps, page_view

TITLE = "Review"
SCRIPT = f'"use strict";\n{page_view.SCRIPT}{page_steps.SCRIPT}'
STYLE = (
    html_page.STYLE
    + """
body { padding-bottom: 2rem } [hidden] { display: none !important }
h1 { font-size: 1.15rem; margin: 0 } h2 { border: 0; margin: .1rem 0 .5rem; padding: 0;
  font-size: 1.3rem; line-height: 1.25; overflow-wrap: anywhere } h2:focus { outline: none }
h3 { font-size: .8rem; font-weight: 600; color: var(--soft); margin: .9rem 0 .25rem }
header { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; align-items: baseline;
  padding-bottom: .5rem; border-bottom: 1px solid var(--line) }
header p { margin: 0; font-variant-numeric: tabular-nums; font-size: .87rem } #who {
  margin-left: auto; max-width: 12rem; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap }
progress { width: 100%; height: .3rem; display: block; border: 0; margin: 0; appearance: none;
  background: var(--faint) } progress::-webkit-progress-bar { background: var(--faint) }
progress::-webkit-progress-value { background: var(--good) }
progress::-moz-progress-bar { background: var(--good) }
#filters { border: 0; margin: .2rem 0 0; font-size: .87rem }
#filters form { display: grid; gap: .5rem .8rem; padding: .4rem 0; align-items: end;
  grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)) }
label { font-size: .8rem; color: var(--soft); display: block }
select, input, input[type=search] { font: inherit; font-size: .95rem; width: 100%;
  height: 2.3rem; padding: .3rem .5rem; color: var(--text); background: var(--card);
  border: 1px solid var(--line); border-radius: .4rem }
button { font-size: .95rem; padding: .4rem .7rem; line-height: 1.3 }
button:hover:enabled { border-color: var(--bar) } button:disabled { opacity: .5; cursor: default }
:focus-visible { outline: 2px solid var(--bar); outline-offset: 2px }
kbd { font: 600 .72rem ui-monospace, monospace; border: 1px solid var(--line); color: var(--soft);
  border-radius: .25rem; padding: .05rem .35rem; background: var(--paper); white-space: nowrap }
#work { display: grid; gap: 1.2rem; align-items: start;
  grid-template-columns: minmax(0, 1fr) minmax(0, 1fr) }
#photos { position: sticky; top: .6rem }
#photo { display: block; width: 100%; height: min(68vh, 34rem); object-fit: contain;
  background: #fff; border: 1px solid var(--line); border-radius: .5rem }
#photo-note { min-height: 1.3em; color: var(--soft); margin: .2rem 0 } #photo-note.bad {
  color: var(--bad) }
.row { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center } .row label {
  display: flex; gap: .4rem; align-items: center; flex: 1 1 10rem; white-space: nowrap }
.facts { font-size: .87rem; color: var(--soft); margin: 0 0 .3rem; overflow-wrap: anywhere }
.badge { color: var(--paper); background: var(--soft); border-radius: .3rem; padding: .05rem .45rem;
  font-weight: 600; font-size: .8rem } .badge.contradicted { background: var(--bad) }
.badge.doubtful { background: var(--half) } .badge.filled { background: var(--bar) }
@media (prefers-color-scheme: light) { .badge.doubtful { background: #8f5c08 } }
ol { list-style: none; margin: 0; padding: 0; display: grid; gap: .35rem }
.answer { display: grid; grid-template-columns: 1.7rem minmax(0, 1fr) 3.2rem; width: 100%;
  gap: .1rem .5rem; align-items: center; text-align: left; min-height: 2.75rem }
.answer kbd { justify-self: start } .answer .value { overflow-wrap: anywhere }
.answer .score { text-align: right; color: var(--soft);
  font-variant-numeric: tabular-nums; font-size: .87rem }
.answer .track { grid-column: 2 / 4; height: .25rem } .answer .track i { height: 100% }
[aria-pressed=true] { border-color: var(--good); box-shadow: inset 0 0 0 1px var(--good) }
.tag { font-size: .75rem; color: var(--soft); border: 1px solid var(--line); white-space: nowrap;
  border-radius: .3rem; padding: 0 .3rem; margin-left: .4rem }
#save { border-color: var(--good); margin-top: .4rem; width: 100%; overflow-wrap: anywhere }
#values { max-height: 15rem; overflow-y: auto; margin: .2rem 0 0; padding: 0; list-style: none;
  border: 1px solid var(--line); border-radius: .4rem }
#values li { padding: .4rem .6rem; cursor: pointer; overflow-wrap: anywhere }
#values li[aria-selected=true] { background: var(--faint) }
.actions { display: grid; grid-template-columns: 2fr 1fr 1fr; gap: .5rem; margin-top: 1rem }
.actions button { min-height: 2.75rem }
#message { border: 1px solid var(--bad); border-left-width: .35rem; border-radius: .4rem;
  padding: .5rem .8rem; margin: .6rem 0; overflow-wrap: anywhere } #message p { margin: 0 }
#message button { margin-top: .4rem }
#status { color: var(--soft); font-size: .87rem; min-height: 1.5em; overflow-wrap: anywhere;
  margin: 0 0 .5rem }
#empty { padding: 2rem 0; text-align: center } #empty p { margin: .4rem auto }
dialog { color: inherit; background: var(--paper); border: 1px solid var(--line);
  border-radius: .6rem; padding: 1.2rem; width: min(24rem, 92vw) }
dialog::backdrop { background: rgb(0 0 0 / .45) } dialog h2 { margin-bottom: .6rem }
dialog button { margin-top: .7rem } .unseen { position: absolute; width: 1px; height: 1px;
  overflow: hidden; clip-path: inset(50%); white-space: nowrap }
@media (max-width: 46rem) { html { scroll-padding-bottom: 5rem }
  body { padding: .7rem .7rem 1rem } #work { gap: .6rem;
  grid-template-columns: minmax(0, 1fr) } #photos { position: static }
  #photo { height: min(38vh, 20rem) } h1 { display: none }
  #filters form { grid-template-columns: 1fr 1fr }
  .actions { position: sticky; bottom: 0; background: var(--paper); padding: .5rem 0;
  margin-top: .6rem; border-top: 1px solid var(--line) } }
@media (hover: none) and (pointer: coarse) { kbd { display: none } .answer {
  grid-template-columns: minmax(0, 1fr) 3.2rem } .answer .track { grid-column: 1 / 3 } }
"""
)

_BODY = """
<header><h1>Review</h1><p id=progress>&nbsp;</p>
<button id=who type=button hidden></button></header>
<progress id=bar max=1 value=0 aria-label="Decided"></progress>
<details id=filters><summary>Filters<span id=filtered></span></summary>
<form id=filter-form autocomplete=off>
<div><label for=f-attribute>Attribute</label><select id=f-attribute name=attribute></select></div>
<div><label for=f-category>Category</label><select id=f-category name=category></select></div>
<div><label for=f-verdict>Verdict</label><select id=f-verdict name=verdict></select></div>
<div><label for=f-seller>Seller</label>
<input id=f-seller name=seller list=sellers><datalist id=sellers></datalist></div>
<div><label for=f-product>Product id contains</label>
<input id=f-product name=product type=search></div>
<div><button id=clear type=button>Clear filters</button></div>
</form></details>
<div id=message role=alert hidden><p id=message-text></p>
<button id=go-on type=button>Continue</button></div>
<p id=status role=status aria-live=polite></p>
<main>
<div id=empty hidden><h2 id=empty-title tabindex=-1></h2><p id=empty-text></p>
<p><button id=again type=button>Check again</button></p></div>
<div id=work hidden>
<section id=photos aria-label=Photos>
<img id=photo alt=""><p id=photo-note aria-live=polite></p>
<div class=row id=photo-choice role=group aria-label="Photos of the product"></div>
<div class=row id=heat-row hidden><button id=heat type=button aria-pressed=false
 aria-keyshortcuts=h>Heat map <kbd aria-hidden=true>h</kbd></button>
<label for=heat-value>of <select id=heat-value></select></label></div>
</section>
<section id=card aria-labelledby=question>
<p class=facts><span id=verdict class=badge></span> <span id=facts></span></p>
<h2 id=question tabindex=-1></h2>
<h3>Seller&rsquo;s value</h3><div id=given></div>
<h3 id=proposals-title></h3><ol id=proposals></ol>
<button id=save type=button hidden aria-keyshortcuts=Enter></button>
<h3><label for=search>Another value <kbd aria-hidden=true>/</kbd></label></h3>
<input id=search type=text role=combobox aria-expanded=false aria-controls=values
 aria-autocomplete=list aria-keyshortcuts="/" autocomplete=off spellcheck=false
 placeholder="Search all values">
<ul id=values role=listbox aria-label="Values" hidden></ul>
<div class=actions role=group aria-label="Other answers">
<button id=none type=button aria-keyshortcuts=n>None of them<span class=unseen>, or does not
 apply</span> <kbd aria-hidden=true>n</kbd></button>
<button id=skip type=button aria-keyshortcuts=Space>Skip <kbd aria-hidden=true>space</kbd></button>
<button id=undo type=button aria-keyshortcuts=u>Undo <kbd aria-hidden=true>u</kbd></button></div>
</section></div></main>
<dialog id=name-dialog aria-labelledby=name-title><form id=name-form method=dialog>
<h2 id=name-title>Who is reviewing?</h2>
<label for=name>Your name, stored with your decisions</label>
<input id=name maxlength=60 required autocomplete=name>
<button type=submit>Start</button></form></dialog>
<noscript><p>This page needs JavaScript.</p></noscript>
<script src=/review.js></script>
"""


def html() -> str:
    """Return the whole page, the same for every item and reviewer."""
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{TITLE}</title>"
        f"<link rel=stylesheet href=/review.css></head><body>{_BODY}</body></html>\n"
    )
