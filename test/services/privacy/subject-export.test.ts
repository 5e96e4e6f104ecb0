import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { EXPORT_LISTS, exportInstant } from '#src/domain/subject-export.ts';
import { APPLICATION, exportOf, HOME, OPERATOR, privacyWorld, settle } from '../../support/privacy-world.ts';
import { eventOf, person, REALM } from '../../support/store-samples.ts';

const schema: unknown = JSON.parse(
  readFileSync(new URL('../../../docs/schemas/subject-export.schema.json', import.meta.url), 'utf8'),
);
const validate = new Ajv2020({ strict: true, allErrors: true }).compile(schema as object);

type Document = Readonly<Record<string, unknown>> & {
  readonly [list in (typeof EXPORT_LISTS)[number]]: readonly Readonly<Record<string, unknown>>[];
};

function read(text: string): Document {
  const document = JSON.parse(text) as Document;
  expect(validate(document), JSON.stringify(validate.errors)).toBe(true);
  return document;
}

describe('the export of a person', () => {
  it('has everything that is kept, as the schema says and nothing else', async () => {
    const world = await privacyWorld();
    const { subject, own, factors } = await settle(world);
    const text = await exportOf(world, subject);
    const document = read(text);
    for (const value of own) expect(text, value).toContain(value);
    expect(Object.fromEntries(EXPORT_LISTS.map((list) => [list, document[list].length]))).toEqual({
      consents: 4,
      factors: 5,
      sessions: 2,
      trusted_devices: 1,
      challenges: 1,
      notices: 0,
      events: expect.any(Number),
    });
    expect(document.events.map(({ type }) => type)).toContain('factor.enrolled');
    expect(document.factors.map(({ id }) => id)).toEqual(expect.arrayContaining([...factors]));
    expect(document).toMatchObject({ attempts: { recent: 1, consecutive: 1, locked_until: null, hard_locked: false } });
    expect(document.consents[0]).toMatchObject({ ip_address: HOME.ipAddress });
  });

  it('has no secret, nor what finds somebody who has one', async () => {
    const world = await privacyWorld();
    const { subject, secrets } = await settle(world);
    const text = await exportOf(world, subject);
    for (const secret of secrets) {
      expect(text, secret).not.toContain(secret);
      expect(text, secret).not.toContain(Buffer.from(secret).toString('base64').slice(0, -4));
    }
  });

  it('has nothing of anybody else', async () => {
    const world = await privacyWorld();
    const ann = await settle(world);
    const bob = await settle(world);
    const text = await exportOf(world, ann.subject);
    for (const value of bob.own.filter((one) => !ann.own.includes(one))) expect(text, value).not.toContain(value);
  });

  it('is empty lists for somebody who is not known', async () => {
    const world = await privacyWorld();
    const document = read(await exportOf(world, person()));
    for (const list of EXPORT_LISTS) expect(document[list], list).toEqual([]);
  });

  it('comes in pieces of UTF-8 of at most 32 KiB, page by page, whatever there is', async () => {
    const world = await privacyWorld();
    const subject = `åsa-😀-${person()}`;
    const events = Array.from({ length: 900 }, (_, index) =>
      eventOf('challenge.refused', { subject, userAgent: `${'😀'.repeat(80)} ${index}`, facts: { nr: String(index) } }),
    );
    await world.stores.audit.append(events);
    const pieces: Uint8Array[] = [];
    const signal = new AbortController().signal;
    for await (const piece of world.subjectExport.export(APPLICATION, { realm: REALM, subject }, signal))
      pieces.push(piece);
    expect(pieces.length).toBeGreaterThan(5);
    for (const piece of pieces) {
      expect(piece.length).toBeLessThanOrEqual(32 * 1024);
      expect(() => new TextDecoder('utf-8', { fatal: true }).decode(piece)).not.toThrow();
    }
    const document = read(Buffer.concat(pieces).toString('utf8'));
    expect(document.events.map(({ facts }) => Number((facts as { nr: string }).nr))).toEqual(events.map((_, nr) => nr));
  });

  it('is in the trail, with who asked, before its first piece', async () => {
    const world = await privacyWorld();
    const subject = person();
    const exporting = world.subjectExport.export(OPERATOR, { realm: REALM, subject }, new AbortController().signal);
    await exporting.next();
    const [event] = await world.stores.audit.query({ realm: REALM, subject }, 1);
    expect(event).toMatchObject({ type: 'subject.exported', subject, caller: 'grpc', correlationId: 'corr-operator' });
    await exporting.return();
  });

  it('is not begun when the trail cannot take that', async () => {
    const world = await privacyWorld();
    const subject = person();
    await world.stores[Symbol.asyncDispose]();
    const exporting = world.subjectExport.export(OPERATOR, { realm: REALM, subject }, new AbortController().signal);
    await expect(exporting.next()).rejects.toMatchObject({ kind: 'unavailable' });
  });

  it('ends where the settings bound it, without an end that would make it look whole', async () => {
    const world = await privacyWorld({ maxBytes: 2_000 });
    const { subject } = await settle(world);
    const pieces: Uint8Array[] = [];
    const signal = new AbortController().signal;
    const reading = async () => {
      for await (const piece of world.subjectExport.export(APPLICATION, { realm: REALM, subject }, signal))
        pieces.push(piece);
    };
    await expect(reading()).rejects.toMatchObject({ kind: 'limited', reason: 'LIMIT_EXCEEDED' });
    expect(Buffer.concat(pieces).toString('utf8')).not.toContain('"complete"');
  });

  it('stops when nobody wants it any more, and gives its place back', async () => {
    const world = await privacyWorld();
    const { subject } = await settle(world);
    for (let round = 0; round < 6; round += 1) {
      const cancel = new AbortController();
      const exporting = world.subjectExport.export(APPLICATION, { realm: REALM, subject }, cancel.signal);
      cancel.abort();
      const pieces = await Array.fromAsync(exporting);
      expect(Buffer.concat(pieces).toString('utf8')).not.toContain('"complete"');
    }
    expect(read(await exportOf(world, subject))).toMatchObject({ complete: true });
  });

  it('is refused while four others are under way', async () => {
    const world = await privacyWorld();
    const { subject } = await settle(world);
    const signal = new AbortController().signal;
    const open = Array.from({ length: 4 }, () =>
      world.subjectExport.export(APPLICATION, { realm: REALM, subject }, signal),
    );
    await Promise.all(open.map((one) => one.next()));
    await expect(exportOf(world, subject)).rejects.toMatchObject({ kind: 'limited', reason: 'LIMIT_EXCEEDED' });
    await Promise.all(open.map((one) => one.return()));
    expect(read(await exportOf(world, subject))).toMatchObject({ complete: true });
  });
});

describe('an instant in an export', () => {
  it('is RFC 3339 in UTC with milliseconds', () => {
    expect(exportInstant(0)).toBe('1970-01-01T00:00:00.000Z');
    expect(exportInstant(1_700_000_000_123)).toBe('2023-11-14T22:13:20.123Z');
  });
});
