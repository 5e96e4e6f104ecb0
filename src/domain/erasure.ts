/** Purpose of the keyed digest that stands for an erased person. */
export const ERASURE_MARK = 'subject.erased';

/** What a mark is the keyed digest of. */
export function markOf(realm: string, subject: string): string {
  return `${realm}\n${subject}`;
}
