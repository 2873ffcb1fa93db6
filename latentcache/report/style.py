"""The pages' look: one palette, light and dark, no script, nothing fetched."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fbfaf7; --card: #ffffff; --ink: #1d2129; --soft: #5d6570; --line: #e2dfd8;
  --main: #0f766e; --main-soft: #cfe7e3; --warn: #b45309; --warn-soft: #f6e3c8; --bad: #b42318;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --card: #1c2026; --ink: #e8e6e1; --soft: #a0a8b2; --line: #323841;
    --main: #4fc3b5; --main-soft: #1f4a46; --warn: #f0a94a; --warn-soft: #4d3a1c; --bad: #ff8a7a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
main { max-width: 1360px; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
header p { color: var(--soft); max-width: 46rem; margin: .4rem 0 0; }
h1 {
  font-size: clamp(1.6rem, 4vw, 2.3rem); line-height: 1.15; margin: 0; letter-spacing: -.02em;
}
h2 { font-size: 1.3rem; margin: 3rem 0 .3rem; letter-spacing: -.01em; }
section > p { max-width: 62rem; margin: .2rem 0 1rem; }
code, .mono {
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .86em;
}
pre {
  overflow-x: auto; background: var(--card); border: 1px solid var(--line);
  border-radius: .6rem; padding: .6rem .8rem; margin: 0 0 1rem; font-size: .82rem;
}
a { color: var(--main); }
.tiles {
  display: grid; grid-template-columns: repeat(var(--across, 4), 1fr);
  gap: .75rem;
  margin: 1.6rem 0 0; padding: 0; list-style: none;
}
.tiles li {
  background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: .7rem .9rem;
}
.tiles b { display: block; font-size: 1.45rem; line-height: 1.25; letter-spacing: -.02em; }
.tiles span { color: var(--soft); font-size: .86rem; }
.tiles .warn b { color: var(--warn); }
figure { margin: 1rem 0 0; }
figcaption { color: var(--soft); font-size: .88rem; margin-top: .6rem; max-width: 62rem; }
.columns { display: grid; gap: 2.5rem; grid-template-columns: minmax(0, 1fr) 14rem; }
.columns nav { order: 2; }
nav ol { position: sticky; top: 1.5rem; margin: 3rem 0 0; padding: 0 0 0 1rem; list-style: none;
  border-left: 2px solid var(--line); font-size: .88rem; }
nav li { margin: .35rem 0; line-height: 1.35; }
nav a { text-decoration: none; }
nav a:hover { text-decoration: underline; }
.from { color: var(--soft); font-size: .74rem; margin: .4rem 0 0; overflow-wrap: anywhere; }
@media (max-width: 62rem) {
  .columns { display: block; }
  nav ol { position: static; margin-top: 1.5rem; columns: 2; }
  .tiles { grid-template-columns: repeat(2, 1fr); }
}
.gallery {
  display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 32rem), 1fr));
}
.trio {
  background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: .7rem; margin: 0;
}
.trio div { display: grid; grid-template-columns: repeat(3, 1fr); gap: .45rem; }
.trio .pair { grid-template-columns: repeat(2, 1fr); }
.trio img { display: block; width: 100%; height: auto; border-radius: .3rem; }
.trio img.latent { image-rendering: pixelated; }
.trio small { color: var(--soft); text-align: center; display: block; font-size: .76rem; }
.trio figcaption {
  margin-top: .5rem; display: flex; justify-content: space-between; gap: 1rem;
}
.trio figcaption b { color: var(--main); white-space: nowrap; }
.stages {
  display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr));
}
.stage {
  background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: .8rem; margin: 0;
}
.stage img { display: block; width: 100%; height: auto; }
.moving img { width: 100%; }
.crisp { image-rendering: pixelated; }
.stage figcaption {
  margin-top: .6rem; display: flex; justify-content: space-between; gap: 1rem;
}
.stage figcaption b { color: var(--main); white-space: nowrap; }
.aside { color: var(--soft); font-size: .88rem; margin-top: .8rem; }
.channels {
  display: grid; gap: .6rem; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr));
}
.channels svg { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg .name { fill: var(--ink); font-weight: 600; }
svg .bar { fill: var(--main); }
svg .pale { fill: var(--main-soft); }
svg .warn { fill: var(--warn); }
svg .bad { fill: var(--bad); }
svg .curve { fill: none; stroke: var(--main); stroke-width: 2; stroke-linejoin: round; }
svg .faint { fill: none; stroke: var(--main-soft); stroke-width: 1; }
svg .axis { stroke: var(--line); stroke-width: 1; }
svg .zero { stroke: var(--soft); stroke-width: .6; stroke-dasharray: 2 2; }
.scroll {
  overflow-x: auto; border: 1px solid var(--line); border-radius: .6rem;
  background: var(--card);
}
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td {
  padding: .42rem .8rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line);
}
tr:last-child td { border-bottom: 0; }
thead th { color: var(--soft); font-weight: 600; white-space: nowrap; }
td.number, th.number {
  text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap;
}
td.prose { min-width: 15rem; }
td code { white-space: nowrap; }
td.good { color: var(--main); font-weight: 600; white-space: nowrap; }
td.bad { color: var(--bad); font-weight: 600; white-space: nowrap; }
.dense th, .dense td { padding: .14rem .4rem; vertical-align: middle; }
.dense th { padding: .42rem .4rem; }
.dense table { font-size: .82rem; }
td.ids { white-space: pre; }
td.ids, td.ids span {
  font: .66rem/1.7 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
}
.rank { background: var(--main-soft); padding: .12rem .2rem; }
.rank.other { background: var(--warn-soft); }
tfoot td { font-weight: 600; border-top: 2px solid var(--line); border-bottom: 0; }
.sum {
  display: flex; flex-wrap: wrap; gap: .3rem .7rem; align-items: baseline; font-size: 1.15rem;
  margin: .6rem 0 .8rem;
}
.sum b { font-variant-numeric: tabular-nums; }
.sum small { color: var(--soft); font-size: .82rem; }
details { margin-top: .7rem; } summary { cursor: pointer; color: var(--main); }
details .scroll { margin-top: .6rem; }
footer { margin-top: 3.5rem; padding-top: 1rem; border-top: 1px solid var(--line);
  color: var(--soft); font-size: .86rem; }
@media print { .scroll { overflow: visible; } }
"""
