import { describe, expect, it } from 'vitest';
import { openRecord, parseRecord, sealRecord } from '#src/adapters/audit/record.ts';
import { encodeRecord } from '#src/adapters/audit/record-encoding.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import { SeededRandom } from '../../support/random.ts';

const random = new SeededRandom('records');
const personal = { ref: 'ref-of-ann', key: random.bytes(32) };
const PLACE = { chainId: 'chn_1', sequence: 1, hash: new Uint8Array(32) };
const draft = (id: string, ipAddress: string): EventDraft => ({
  id,
  type: 'session.created',
  at: 1,
  realm: 'shop',
  subject: 'ann',
  outcome: 'SUCCESS',
  ipAddress,
});
const sealed = (id: string, ipAddress: string) => sealRecord(draft(id, ipAddress), personal, random);
const opened = (fields: ReturnType<typeof sealed>) =>
  openRecord(parseRecord(encodeRecord(fields)), personal.key, PLACE);

describe('the personal fields of an event', () => {
  it('open in their own event and in no other, not even of the same person', () => {
    const [first, second] = [sealed('evt_1', '192.0.2.1'), sealed('evt_2', '198.51.100.1')];
    expect(opened(first)).toMatchObject({ subject: 'ann', ipAddress: '192.0.2.1' });
    const mixed = { ...first, sealedPersonal: second.sealedPersonal };
    expect(opened(mixed)).toMatchObject({ id: 'evt_1', subject: '', ipAddress: '' });
  });
});
