//! Style sheet of the pages: light and dark, wide and narrow.

/// Cascading style sheet.
pub const STYLE: &str = "
:root {
  color-scheme: light dark;
  --paper: #fdfdfb; --panel: #f1f2ee; --ink: #1c2024; --muted: #5c646c; --grid: #d9dcd8; --bad: #b42318;
  --series-0: #0b57b0; --series-1: #b8430b; --series-2: #19752f; --series-3: #8432c8; --series-4: #b8186a;
  --series-5: #75600c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15181b; --panel: #1f2428; --ink: #e9ecee; --muted: #a3abb2; --grid: #3a4147; --bad: #ff8a7a;
    --series-0: #6db3ff; --series-1: #ff9c5b; --series-2: #63d17f; --series-3: #cba3ff; --series-4: #ff8dbb;
    --series-5: #d9c062;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 56rem;
  background: var(--paper); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif;
}
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .75rem; }
h2 { font-size: 1.25rem; margin: 2.75rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--grid); }
h3 { font-size: 1rem; margin: 0; }
h3.above { margin: 1.5rem 0 .5rem; }
p, dd { max-width: 44rem; }
h1, p, li, dd, summary, figcaption { overflow-wrap: anywhere; }
.lead { font-size: 1.1rem; }
.note, figcaption { color: var(--muted); font-size: .9rem; }
.steps { list-style: none; margin: 0; padding: 0; display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); }
.steps li { background: var(--panel); border-radius: .4rem; padding: .9rem; }
.steps p { margin: .2rem 0 0; font-size: .9rem; }
.steps .key { font-size: 1.9rem; font-weight: 650; line-height: 1.2; }
figure { margin: 1.25rem 0; }
figcaption { margin-top: .25rem; }
.chart { font-size: .8rem; line-height: 1; font-variant-numeric: tabular-nums; }
.unit { color: var(--ink); line-height: 1.3; }
.unit.x { text-align: center; }
.plot { position: relative; height: 17rem; margin: .6rem 1.75rem 1.75rem calc(var(--gutter) + .6rem);
  border: solid var(--muted); border-width: 0 0 1px 1px; }
.plot svg { display: block; width: 100%; height: 100%; }
.plot path { fill: none; stroke-width: 1px; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
.plot .line { stroke-width: 2px; }
.plot .line.first { stroke-width: 3px; }
.plot .marks { stroke-width: 7px; stroke-linecap: round; }
.plot .beneath { stroke-width: 9px; }
.plot span { position: absolute; color: var(--muted); white-space: nowrap; }
.plot .left { right: 100%; padding-right: .4rem; transform: translateY(-50%); }
.plot .below { top: 100%; padding-top: .4rem; transform: translateX(-50%); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .35rem 1.25rem; margin: .75rem 0 0; padding: 0;
  line-height: 1.3; }
.chart .note { font-size: inherit; line-height: 1.3; margin: .5rem 0 0; }
.map { display: block; width: 100%; max-width: var(--width); height: auto; background: var(--panel); }
.pair { display: grid; gap: 0 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); }
.pair > * { min-width: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem 1rem .4rem 0; border-bottom: 1px solid var(--grid); text-align: right; vertical-align: top;
  white-space: nowrap; }
th { font-weight: 500; }
thead th { color: var(--muted); white-space: normal; vertical-align: bottom; min-width: 5rem; }
th:first-child, .words { text-align: left; }
td.words { white-space: normal; min-width: 10rem; }
.own > *, .chosen, .group { font-weight: 700; }
.group { padding-top: 1rem; }
.bad { color: var(--bad); font-weight: 700; }
.swatch path { fill: none; }
.swatch { width: 2.25rem; height: .5rem; margin-right: .6rem; vertical-align: middle; }
tbody th { white-space: normal; overflow-wrap: anywhere; max-width: 24rem; }
@media (max-width: 40rem) {
  tbody th { min-width: 8rem; }
  th .swatch { display: block; margin: .4rem 0; }
}
.confusion { font-size: .8rem; }
.confusion td, .confusion th { padding: .3rem .45rem; min-width: 0; white-space: nowrap; }
.confusion td { text-align: center; border: 1px solid var(--grid); }
.confusion thead th { text-align: center; }
.confusion .upright { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; vertical-align: top; }
.confusion .right { background: color-mix(in srgb, var(--series-0) var(--part), transparent); }
.confusion .wrong { background: color-mix(in srgb, var(--series-1) var(--part), transparent); }
.confusion .none { color: var(--grid); }
.memory { width: 100%; }
.bars { width: 50%; min-width: 9rem; }
.bar { display: block; height: .8rem; margin-top: .35rem; min-width: 1px; background: var(--series-0); }
details { margin-top: 1rem; }
summary { cursor: pointer; }
code, pre { font-family: ui-monospace, monospace; font-size: .92em; }
pre { background: var(--panel); padding: .75rem 1rem; border-radius: .4rem; overflow-x: auto; }
dt { font-weight: 650; }
dd { margin: 0 0 .75rem; }
";
