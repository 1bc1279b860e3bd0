/**
 * What came of itself, and stays until it is dealt with. The list is a live region: what comes into it is
 * read out when there is a pause.
 */

const list = document.getElementById('news');

/**
 * @param {string} key what it is about: a later piece takes the place of an earlier one
 * @param {string} text
 * @param {{ label: string, name: string, run: (key: string) => void }} [action] what can be done about it;
 *   `name` is what it is called where the text beside it is not seen
 */
export function announce(key, text, action) {
  const before = pieceOf(key);
  if (before?.querySelector('.text').textContent === text) return;
  const node = document.getElementById('piece').content.firstElementChild.cloneNode(true);
  node.dataset.key = key;
  node.querySelector('.text').textContent = text;
  const [act, dismiss] = node.querySelectorAll('button');
  act.hidden = !action;
  if (action) {
    act.textContent = action.label;
    act.setAttribute('aria-label', action.name);
    act.addEventListener('click', () => action.run(node.dataset.key));
  }
  dismiss.setAttribute('aria-label', `Dismiss: ${text}`);
  dismiss.addEventListener('click', () => withdraw(node.dataset.key));
  if (before) leaveTo(before, dismiss);
  before?.remove();
  list.prepend(node);
}

/** Takes a piece of news back. */
export function withdraw(key) {
  const node = pieceOf(key);
  if (!node) return;
  const next = (node.nextElementSibling ?? node.previousElementSibling)?.querySelector('.dismiss');
  leaveTo(node, next ?? document.getElementById('products-title'));
  node.remove();
}

/** Takes back all news of which a condition holds. */
export function withdrawAll(isOver) {
  for (const { dataset } of [...list.children]) if (isOver(dataset.key)) withdraw(dataset.key);
}

/** What it is about is called otherwise from now on. */
export function rename(key, next) {
  const node = pieceOf(key);
  if (node) node.dataset.key = next;
}

const pieceOf = (key) => [...list.children].find(({ dataset }) => dataset.key === key);

/** The focus does not get lost with what has it. */
function leaveTo(node, next) {
  if (node.contains(document.activeElement)) next.focus();
}
