"""How a page looks, and the little that moves on it.

Law: constants. Colours have one meaning on the whole page; nothing is told by colour
alone; it works without the script, and in the dark.
"""

from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2733; --soft: #5b6875;
  --rule: #e3e8ee; --shade: #f0f2f7; --ok: #2f9e6e; --refused: #e0a100;
  --unknown: #d6455d; --process: #c2553a; --link: #3f6fd1; --client: #8a5cc7;
  --machine: #b0892c; --member: #2f8f9d;
  --down: #1c2733; }
@media (prefers-color-scheme: dark) { :root { --paper: #14191f; --ink: #e6ebf0;
  --soft: #94a1ae; --rule: #2a333d; --shade: #1d252e; --ok: #45b985;
  --refused: #edb72b; --unknown: #ef6a7f; --process: #e0775c; --link: #6b97f0;
  --client: #ac83e6; --down: #e6ebf0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 24px 28px 64px; }
h1 { font-size: 16px; font-weight: 600; color: var(--soft); margin: 0 0 12px; }
h2 { font-size: 19px; margin: 40px 0 4px; }
h3 { font-size: 16px; margin: 12px 0 4px; }
p { margin: 4px 0 10px; max-width: 78ch; }
p.note, figcaption { color: var(--soft); }
code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; }
.verdict { border-left: 8px solid var(--soft); background: var(--shade);
  padding: 16px 20px; border-radius: 4px; }
.verdict strong { font-size: 34px; line-height: 1.1; display: block; }
.verdict.valid { border-color: var(--ok); }
.verdict.valid strong { color: var(--ok); }
.verdict.violated { border-color: var(--unknown); }
.verdict.violated strong { color: var(--unknown); }
.verdict.void { border-color: var(--refused); }
.verdict.void strong { color: var(--refused); }
.verdict ul { margin: 8px 0 0; padding-left: 20px; }
.facts { display: flex; flex-wrap: wrap; gap: 12px 36px; margin: 20px 0 0; }
.facts div { min-width: 96px; }
.facts b { display: block; font-size: 22px; font-weight: 600; }
.facts span { color: var(--soft); font-size: 13px; }
figure { margin: 14px 0 0; overflow-x: auto; }
figure svg { width: 100%; min-width: 720px; height: auto; display: block; }
table { border-collapse: collapse; margin: 10px 0; font-size: 14px; }
th, td { text-align: right; padding: 3px 14px 3px 0; border-bottom: 1px solid
  var(--rule); font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
td.never { color: var(--unknown); font-weight: 600; }
dl { display: grid; grid-template-columns: auto 1fr; gap: 4px 16px; margin: 6px 0; }
dt { color: var(--soft); } dd { margin: 0; }
.key { display: inline-block; width: 12px; height: 12px; border-radius: 2px;
  margin: 0 5px 0 14px; vertical-align: -1px; }
.key.line { height: 3px; vertical-align: 4px; }
text { font: 12px system-ui, sans-serif; fill: var(--ink); }
text.tick { fill: var(--soft); font-size: 11px; }
text.name { font-size: 12px; } text.told { font-size: 12px; }
.grid { stroke: var(--rule); } .life { stroke: var(--soft); stroke-width: 1.5; }
.shade { fill: var(--shade); }
rect.ok, .key.ok { fill: var(--ok); background: var(--ok); }
rect.refused, .key.refused { fill: var(--refused); background: var(--refused); }
rect.unknown, .key.unknown { fill: var(--unknown); background: var(--unknown); }
rect.perhaps { fill: var(--unknown); opacity: .35; }
.process, .key.process { fill: var(--process); background: var(--process); }
.member, .key.member { fill: var(--member); background: var(--member); }
.machine, .key.machine { fill: var(--machine); background: var(--machine); }
.link, .key.link { fill: var(--link); background: var(--link); }
.client, .key.client { fill: var(--client); background: var(--client); }
.down, .key.down { fill: var(--down); background: var(--down); }
.faint { opacity: .4; }
.dots { fill: none; stroke-width: 2.6; stroke-linecap: round; opacity: .4; }
.dots.ok { stroke: var(--ok); } .dots.refused { stroke: var(--refused); opacity: .8; }
.dots.unknown { stroke: var(--unknown); opacity: .55; }
.half, .most { fill: none; stroke: var(--ink); stroke-width: 1.6; }
.most { stroke-dasharray: 4 3; }
.key.half { background: var(--ink); }
.key.most { background: repeating-linear-gradient(90deg, var(--ink) 0 4px,
  transparent 4px 7px); }
.cursor { position: absolute; width: 1px; background: var(--soft); opacity: .6;
  pointer-events: none; display: none; }
.shared { position: relative; }
details { margin: 10px 0; } summary { cursor: pointer; color: var(--soft); }
"""

# A line under the pointer through all pictures of the run, so that what happened at one
# moment can be read off all of them.
SCRIPT: Final = """
const shared = document.querySelector('.shared');
const cursor = document.querySelector('.cursor');
if (shared && cursor) {
  shared.addEventListener('mousemove', (event) => {
    const box = shared.getBoundingClientRect();
    cursor.style.display = 'block';
    cursor.style.left = (event.clientX - box.left) + 'px';
    cursor.style.top = '0';
    cursor.style.height = box.height + 'px';
  });
  shared.addEventListener('mouseleave', () => { cursor.style.display = 'none'; });
}
"""
