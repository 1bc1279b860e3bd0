/** The stylesheet of the page. */
export const PAGE_STYLE = `
:root {
  color-scheme: light dark;
  --page: #f4f5f8; --card: #ffffff; --text: #1b2130; --quiet: #566074; --line: #d8dce5;
  --edge: #858ea1; --accent: #2450a8; --on-accent: #ffffff; --soft: #e7edf9;
  --bad: #a01f2b; --bad-soft: #fbe9ea; --good: #1c6b47; --good-soft: #e3f3ea;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12151c; --card: #1b2029; --text: #e8ebf1; --quiet: #a3adbf; --line: #313948;
    --edge: #76819a; --accent: #9dbcff; --on-accent: #0f1726; --soft: #25314b;
    --bad: #ffaeb0; --bad-soft: #47202a; --good: #86d6ad; --good-soft: #1c3a2d;
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body {
  max-width: 72rem; margin: 0 auto; padding: 1rem; background: var(--page); color: var(--text);
  font: 0.9375rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
h1, h2, h3, p, dl, dd, ol { margin: 0; }
h1 { font-size: 1.5rem; }
h2 { font-size: 1.15rem; margin-bottom: 0.25rem; }
h3 { font-size: 1rem; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.quiet { color: var(--quiet); font-weight: 400; }
.unseen {
  position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden;
  clip-path: inset(50%); white-space: nowrap;
}
.skip { position: absolute; left: -100vw; }
.skip:focus { left: 1rem; top: 0.5rem; padding: 0.25rem 0.75rem; background: var(--card); color: var(--text); }
header { display: flex; flex-wrap: wrap; align-items: baseline; justify-content: space-between; gap: 0 1rem; padding-bottom: 0.75rem; }
main { display: grid; gap: 1rem; }
main > * { min-width: 0; }
.wide { padding: 1rem; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
.notice { padding: 0.5rem 0.75rem; margin-bottom: 0.75rem; border-left: 4px solid var(--good); border-radius: 4px; background: var(--good-soft); }
.notice.trouble { border-color: var(--bad); background: var(--bad-soft); }
.notice:empty { display: none; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: 0.75rem; margin: 0.75rem 0; }
.figures > div { padding: 0.75rem; border: 1px solid var(--line); border-radius: 6px; }
.figures dt { color: var(--quiet); }
.figures dd { font-size: 1.125rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.figures dd .quiet { display: block; font-size: 0.875rem; }
.plot { display: block; width: 100%; height: 3.5rem; margin-top: 0.5rem; border-bottom: 1px solid var(--edge); }
.plot polyline { fill: none; stroke: var(--accent); stroke-width: 2; vector-effect: non-scaling-stroke; }
.ask { display: flex; flex-wrap: wrap; align-items: end; gap: 0.75rem; margin: 0.5rem 0; }
.ask form { display: flex; flex-wrap: wrap; align-items: center; gap: 0.5rem; }
#count form { margin-top: 0.25rem; }
#events-title + .ask { justify-content: space-between; align-items: center; }
input:not([type='hidden']) {
  min-width: 0; width: 16rem; max-width: 100%; padding: 0.4rem 0.6rem; border: 1px solid var(--edge);
  border-radius: 6px; background: var(--card); color: var(--text); font: inherit;
}
button, summary { font: inherit; cursor: pointer; }
button {
  min-height: 2.25rem; padding: 0.3rem 0.9rem; border: 1px solid var(--edge); border-radius: 6px;
  background: var(--card); color: var(--text); font-weight: 500;
}
button:hover { background: var(--soft); }
[role='search'] button { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
[role='search'] button:hover { text-decoration: underline; }
.danger, .action button { border-color: var(--bad); color: var(--bad); }
.danger:hover, .action button:hover { background: var(--bad-soft); }
button[disabled] { opacity: 0.6; cursor: default; }
button[aria-pressed='true'] { background: var(--soft); border-color: var(--accent); }
.principal { padding-top: 0.75rem; margin-top: 0.75rem; border-top: 1px solid var(--line); }
.principal h3 .quiet { margin-left: 0.25rem; font-size: 0.875rem; }
table { width: 100%; margin: 0.5rem 0; border-collapse: collapse; table-layout: fixed; }
th, td { padding: 0.4rem 0.5rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: middle; font-weight: 400; }
thead th { color: var(--quiet); font-size: 0.875rem; }
th:first-child, td:first-child { padding-left: 0; }
thead th { width: 12%; }
thead th:first-child { width: 40%; }
thead th:nth-child(2) { width: 24%; }
.device { font-weight: 600; }
.action { text-align: right; padding-right: 0; }
thead th:last-child { text-align: right; padding-right: 0; }
.badge { padding: 0 0.4rem; border-radius: 4px; background: var(--soft); font-size: 0.8125rem; }
.badge.own { background: var(--good-soft); color: var(--good); }
.ended .device { text-decoration: line-through; }
.all summary { width: fit-content; padding: 0.25rem 0; color: var(--bad); }
.all form { display: flex; flex-wrap: wrap; align-items: center; gap: 0.5rem 1rem; padding: 0.25rem 0 0.25rem 1rem; }
#events { padding: 0; list-style: none; }
#events li {
  display: grid; grid-template-columns: 6.5rem 7.5rem 1fr; gap: 0 0.5rem; align-items: baseline;
  padding: 0.3rem 0; border-bottom: 1px solid var(--line);
}
#events time { color: var(--quiet); font-size: 0.875rem; }
.kind { justify-self: start; padding: 0 0.4rem; border-radius: 4px; background: var(--soft); font-size: 0.875rem; }
.kind.revoked, .kind.rejected { background: var(--bad-soft); color: var(--bad); }
.kind.created, .kind.authenticated { background: var(--good-soft); color: var(--good); }
a { color: var(--accent); }
.wide > p + p { margin-top: 0.5rem; }
code { font-family: ui-monospace, monospace; }
@media (prefers-reduced-motion: no-preference) {
  #events .new { animation: arrive 1.2s ease-out; }
  @keyframes arrive { from { background: var(--soft); } }
}
@media (max-width: 40rem) {
  body { padding: 0.75rem; }
  .wide { padding: 0.75rem; }
  .figures { grid-template-columns: 1fr 1fr; }
  .figures .long { grid-column: 1 / -1; }
  .ask, .ask form { align-items: stretch; }
  [role='search'], [role='search'] input:not([type='hidden']) { width: 100%; }
  table, tbody, tr, tbody th, td { display: block; width: auto; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tbody tr { padding: 0.5rem 0; border-bottom: 1px solid var(--line); }
  tbody th, td { padding: 0.1rem 0; border: 0; white-space: normal; }
  td[data-label]::before { content: attr(data-label) ': '; color: var(--quiet); }
  .action { text-align: left; padding-top: 0.4rem; }
  #events li { grid-template-columns: 1fr auto; }
  #events time { order: 2; }
  #events .what { grid-column: 1 / -1; order: 3; }
}
`;
