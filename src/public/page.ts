/** The parts of a page that all pages have: views of which one is seen, and words for people who hear the page. */

/** The element with the id, of the type. Throws where the page has none: page and script are made together. */
export function part<T extends HTMLElement>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`the page has no #${id}`);
  return found;
}

/** Shows one view (`data-view`) and hides the rest; its heading gets the focus, so that it is read out. */
export function show(name: string): void {
  for (const view of document.querySelectorAll<HTMLElement>('[data-view]')) {
    view.hidden = view.dataset['view'] !== name;
    if (view.hidden) continue;
    const heading = view.querySelector<HTMLElement>('h1');
    heading?.focus();
    if (heading?.textContent) document.title = heading.textContent;
  }
}

/** Says something to people who do not see the page change. */
export function announce(words: string): void {
  part('announcer', HTMLElement).textContent = words;
}

/**
 * Text of somebody else as it may be shown: characters that are not seen, or that turn around what is seen, are spelled
 * out. The joiners of Persian and Indian scripts stay.
 */
export function visible(text: string): string {
  return text.replace(/(?!\u200c|\u200d|\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return `⟨U+${code.toString(16).toUpperCase().padStart(4, '0')}⟩`;
  });
}

/** What follows `#` in the address, which is sent nowhere; it is taken out of the address, and so of the history. */
export function takeFragment(): string {
  const fragment = location.hash.slice(1);
  if (fragment !== '') history.replaceState(null, '', location.pathname);
  return fragment;
}

/** Runs one at a time: a second press while the first is under way does nothing. */
export function oneAtATime(work: () => Promise<void>): () => void {
  let busy = false;
  return () => {
    if (busy) return;
    busy = true;
    document.body.setAttribute('aria-busy', 'true');
    work().finally(() => {
      busy = false;
      document.body.removeAttribute('aria-busy');
    });
  };
}
