/** Text that is HTML already. */
export class Html {
  constructor(readonly text: string) {}
}

/** What may stand in a template: text of whomever, which is escaped; HTML; several of them; nothing. */
export type Part = Html | string | number | false | undefined | readonly Part[];

/**
 * HTML in which everything but the template itself is escaped: principals and names of devices are what users
 * have typed. Attributes have to be quoted.
 */
export const html = (literals: TemplateStringsArray, ...parts: readonly Part[]): Html =>
  new Html(literals.map((literal, i) => literal + textOf(parts[i])).join(''));

function textOf(part: Part): string {
  if (part === undefined || part === false) return '';
  if (part instanceof Html) return part.text;
  if (typeof part === 'object') return part.map(textOf).join('');
  return String(part).replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
