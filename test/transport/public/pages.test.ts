import { createECDH, randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { actionDigest } from '#src/domain/action.ts';
import { pushPayload } from '#src/domain/push-payload.ts';
import { publicAssets } from '#src/gen/public/assets.js';
import { assetRoutes } from '#src/transport/public/asset-routes.ts';
import type { NotMe } from '#src/transport/public/contract.ts';
import { jsonApi } from '#src/transport/public/json-api.ts';
import { notMeRoutes } from '#src/transport/public/not-me-routes.ts';
import { pushRoutes } from '#src/transport/public/push-routes.ts';
import { freePort } from '../../../scripts/servers/free-port.ts';
import { launchChromium } from '../../support/chromium.ts';
import { FakePushDevices } from '../../support/fake-push-devices.ts';
import { servePublic } from '../../support/public-listener.ts';
import { PushBrowser } from '../../support/push-browser.ts';
import { RecordingLog } from '../../support/recording-telemetry.ts';
import { until } from '../../support/until.ts';

// A browser takes long to start, and to show a page, where there is much else to do.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

/** Pictures of pages, to be looked at; set by hand. */
const pictures = process.env['PICTURES'];
let browser: Browser;
beforeAll(async () => {
  browser = await launchChromium();
  if (pictures) mkdirSync(pictures, { recursive: true });
});
afterAll(() => browser.close());

async function picture(page: Page, name: string): Promise<void> {
  if (pictures) await page.screenshot({ path: `${pictures}/${name}.png` });
}

async function world(options: Parameters<typeof PushBrowser.open>[3] = {}) {
  const port = await freePort();
  const origin = `http://localhost:${port}`;
  const devices = new FakePushDevices(randomBytes(65).toString('base64url'));
  const log = new RecordingLog();
  const locked: string[] = [];
  const notMe: NotMe = {
    view: async (_visit, token) =>
      token === 'good'
        ? { type: 'factor.enrolled', at: Date.UTC(2026, 9, 3, 9, 5), done: locked.length > 0 }
        : undefined,
    confirm: async (_visit, token) => token === 'good' && locked.push(token) > 0,
  };
  const api = jsonApi({ origin, log });
  const listener = await servePublic(
    [
      ...assetRoutes(publicAssets),
      ...pushRoutes({ devices, appName: 'Harbour Bank', api }),
      ...notMeRoutes(notMe, api),
    ],
    { addresses: [{ kind: 'tcp', host: '127.0.0.1', port }] },
  );
  const keys = {
    endpoint: 'https://push.example/send/1',
    p256dh: createECDH('prime256v1').generateKeys().toString('base64url'),
    auth: randomBytes(16).toString('base64url'),
  };
  const person = await PushBrowser.open(browser, origin, keys, options);
  return {
    origin,
    devices,
    locked,
    listener,
    person,
    [Symbol.asyncDispose]: async () => {
      await person.context.close();
      await listener[Symbol.asyncDispose]();
    },
  };
}

type World = Awaited<ReturnType<typeof world>>;
const heading = (page: Page, words: string) => page.getByRole('heading', { level: 1, name: words }).waitFor();

async function enrolled(one: World): Promise<void> {
  const { page, troubles } = await one.person.page('/push/enroll#ticket-1');
  await heading(page, 'Approve from this browser');
  await page.getByRole('button', { name: 'Allow and set up' }).click();
  await heading(page, 'This browser is set up');
  expect(troubles).toEqual([]);
  await page.close();
}

const FACTS = [
  ['amount', '1,250.00 EUR'],
  ['to', 'DE89 3704 0044 0532 0130 00'],
] as const;

/** Opened by the link of a notification. */
async function asked(one: World, id: string, life = 60_000) {
  const challenge = one.devices.open(id, FACTS, '42', life);
  const opened = await one.person.page(`/push/approve#${id}/${one.devices.factorId}`);
  return { ...opened, challenge };
}

describe('the page that enrols a browser', () => {
  it('works under its content security policy, takes the ticket out of the address, and ends with a key that nobody can read', async () => {
    await using one = await world();
    one.devices.backupCodes = Array.from({ length: 10 }, (_, index) => `AB${index}D-EFGH-JKLM-NPQR`);
    const { page, troubles } = await one.person.page('/push/enroll#ticket-1');
    await heading(page, 'Approve from this browser');
    expect(page.url()).toBe(`${one.origin}/push/enroll`);
    expect(await page.evaluate('history.length')).toBeLessThanOrEqual(2);
    await picture(page, 'enroll-intro');
    await page.getByRole('button', { name: 'Allow and set up' }).click();
    await heading(page, 'This browser is set up');
    await picture(page, 'enroll-done');
    expect(await page.getByRole('listitem').allTextContents()).toEqual(expect.arrayContaining(['AB0D-EFGH-JKLM-NPQR']));
    expect(one.devices.tickets.size).toBe(0);
    const key = await page.evaluate(async () => {
      // biome-ignore lint/suspicious/noExplicitAny: runs in the page.
      const { indexedDB, crypto } = globalThis as any;
      const open = indexedDB.open('sallyport', 1);
      await new Promise((resolve) => {
        open.onsuccess = resolve;
      });
      const all = open.result.transaction('devices').objectStore('devices').getAll();
      await new Promise((resolve) => {
        all.onsuccess = resolve;
      });
      const [{ privateKey }] = all.result;
      const formats = ['pkcs8', 'jwk', 'raw', 'spki'];
      const taken = await Promise.all(
        formats.map((format) =>
          crypto.subtle.exportKey(format, privateKey).then(
            () => format,
            () => '',
          ),
        ),
      );
      return { extractable: privateKey.extractable, usages: privateKey.usages, taken: taken.join('') };
    });
    expect(key).toEqual({ extractable: false, usages: ['sign'], taken: '' });
    const [options] = await page.evaluate<readonly { readonly userVisibleOnly: boolean }[]>('subscribedWith');
    expect(options?.userVisibleOnly).toBe(true);
    expect(troubles).toEqual([]);
  });

  it('says what to do where notifications are not allowed, and goes on once they are', async () => {
    await using one = await world({ allows: false });
    const { page } = await one.person.page('/push/enroll#ticket-1');
    await page.getByRole('button', { name: 'Allow' }).click();
    await heading(page, 'Notifications are switched off');
    await picture(page, 'enroll-denied');
    expect(one.devices.tickets.size).toBe(1);
    await one.person.allow();
    await page.getByRole('button', { name: 'Try again' }).click();
    await heading(page, 'This browser is set up');
  });

  it('tells a link that is over from an outage, which can be tried again with the same link', async () => {
    await using one = await world();
    const { page } = await one.person.page('/push/enroll#ticket-2');
    await page.getByRole('button', { name: 'Allow and set up' }).click();
    await heading(page, 'This link is over');
    expect(await page.getByRole('button', { name: 'Try again' }).isVisible()).toBe(false);
    await page.goto(`${one.origin}/push/enroll#ticket-1`);
    await heading(page, 'Approve from this browser');
    one.devices.next = new Error('away');
    await page.getByRole('button', { name: 'Allow and set up' }).click();
    await heading(page, 'That did not work');
    await page.getByRole('button', { name: 'Try again' }).click();
    await heading(page, 'This browser is set up');
  });

  it('takes the link by hand where there is none in the address, and no other link', async () => {
    await using one = await world();
    const { page } = await one.person.page('/push/enroll');
    await heading(page, 'Paste your set-up link');
    for (const link of ['x', 'https://evil.example/push/enroll#ticket-1', `${one.origin}/push/enroll`]) {
      await page.getByLabel('Set-up link').fill(link);
      await page.getByRole('button', { name: 'Go on' }).click();
      await page.getByText('That is not a set-up link').waitFor();
    }
    await picture(page, 'enroll-link');
    await page.getByLabel('Set-up link').fill(` ${one.origin}/push/enroll#ticket-1 `);
    await page.getByRole('button', { name: 'Go on' }).click();
    await heading(page, 'Approve from this browser');
  });

  it('works when the answer to its confirmation gets lost, and says what may have become of it', async () => {
    await using one = await world();
    const { page } = await one.person.page('/push/enroll#ticket-1');
    await page.route('**/push/api/confirm', async (route) => {
      await route.fetch();
      await route.abort();
    });
    await page.getByRole('button', { name: 'Allow and set up' }).click();
    await heading(page, 'No answer');
    await page.getByRole('button', { name: 'Try again' }).click();
    await heading(page, 'Look among your devices');
    const opened = await asked(one, 'chl_1');
    await heading(opened.page, 'Is this you?');
  });

  it('signs for nothing but its own key and subscription', async () => {
    await using one = await world();
    const enroll = one.devices.enroll.bind(one.devices);
    one.devices.enroll = async (visit, made) => ({ ...(await enroll(visit, made)), challenge: randomBytes(64) });
    const { page } = await one.person.page('/push/enroll#ticket-1');
    await page.getByRole('button', { name: 'Allow and set up' }).click();
    await heading(page, 'That did not work');
    expect(one.devices.device).toBeUndefined();
  });
});

describe('a push message', () => {
  it('becomes a notification without a detail, which leads to the page that has them', async () => {
    await using one = await world();
    await enrolled(one);
    one.devices.open('chl_1', FACTS, '42');
    const message = { challengeId: 'chl_1', factorId: one.devices.factorId, realm: 'default' };
    await one.person.deliver(Buffer.from(pushPayload(message)).toString());
    await until(async () => (await one.person.notifications()).length === 1);
    const [shown] = await one.person.notifications();
    expect(shown).toEqual({
      title: 'Harbour Bank asks for your approval',
      body: 'Open this to see what it is about.',
      data: `chl_1/${one.devices.factorId}`,
    });
    expect(await one.person.touch()).toBe(`/push/approve#chl_1/${one.devices.factorId}`);
    await until(async () => (await one.person.notifications()).length === 0);
  });

  it('takes the place of the one before, and a page that is open is used for it', async () => {
    await using one = await world();
    await enrolled(one);
    const { page, troubles } = await one.person.page('/push/approve');
    await heading(page, 'Nothing to approve');
    for (const id of ['chl_1', 'chl_2']) {
      one.devices.open(id, FACTS, '42');
      const message = { challengeId: id, factorId: one.devices.factorId, realm: 'default' };
      await one.person.deliver(Buffer.from(pushPayload(message)).toString());
      await until(async () => (await one.person.notifications()).some(({ data }) => data.startsWith(id)));
    }
    await until(async () => (await one.person.notifications()).length === 1);
    expect(await one.person.touch()).toBe('');
    await heading(page, 'Is this you?');
    expect(page.url()).toContain('#chl_2/');
    expect(troubles).toEqual([]);
  });

  it('that is no message of ours shows a notification all the same, and leads nowhere', async () => {
    await using one = await world();
    await enrolled(one);
    for (const data of ['', 'not json', '{"v":2}', '{"v":1,"kind":"approval","challenge":"../x","factor":"<b>"}']) {
      await one.person.deliver(data);
      await until(async () => (await one.person.notifications()).length === 1);
      const [shown] = await one.person.notifications();
      expect(shown).toMatchObject({ title: 'Harbour Bank asks for your approval', data: '' });
      expect(await one.person.touch()).toBe('/push/approve#');
      await until(async () => (await one.person.notifications()).length === 0);
    }
  });
});

describe('the page that approves', () => {
  it('shows what it is about, takes the number from the person, and says that it is approved', async () => {
    await using one = await world();
    await enrolled(one);
    const { page, troubles, challenge } = await asked(one, 'chl_1');
    await heading(page, 'Is this you?');
    expect(await page.locator('dl').innerText()).toContain('1,250.00 EUR');
    expect(await page.getByRole('timer').innerText()).toMatch(/^\d+ s left$/);
    const number = page.getByLabel('Number on your other screen');
    expect(await number.inputValue()).toBe('');
    expect(await page.content()).not.toContain('>42<');
    await picture(page, 'approve');
    await page.getByRole('button', { name: 'Approve' }).click();
    await page.getByText('Type the 2 digits').waitFor();
    expect(challenge.outcome).toBeUndefined();
    await number.fill('42');
    await page.getByRole('button', { name: 'Approve' }).click();
    await heading(page, 'Approved');
    await picture(page, 'approve-approved');
    expect(challenge.outcome).toBe('approved');
    expect(troubles).toEqual([]);
  });

  it('says that a wrong number ended it', async () => {
    await using one = await world();
    await enrolled(one);
    const { page, challenge } = await asked(one, 'chl_1');
    await page.getByLabel('Number on your other screen').fill('43');
    await page.keyboard.press('Enter');
    await heading(page, 'Denied');
    await page.getByText('The number was not the one').waitFor();
    expect(challenge.outcome).toBe('denied');
  });

  it('denies on one press, and reports only on a second one', async () => {
    await using one = await world();
    await enrolled(one);
    const first = await asked(one, 'chl_1');
    await first.page.getByRole('button', { name: 'Deny' }).click();
    await heading(first.page, 'Denied');
    expect(first.challenge.outcome).toBe('denied');
    await first.page.close();
    const { page, challenge, troubles } = await asked(one, 'chl_2');
    await page.getByRole('button', { name: 'This was not me', exact: true }).click();
    await page.getByRole('dialog').waitFor();
    await picture(page, 'approve-not-me');
    await page.getByRole('button', { name: 'Go back' }).click();
    expect(challenge.outcome).toBeUndefined();
    await page.getByRole('button', { name: 'This was not me', exact: true }).click();
    await page.getByRole('button', { name: 'Yes, this was not me' }).click();
    await heading(page, 'Denied and reported');
    await picture(page, 'approve-reported');
    expect(challenge.outcome).toBe('reported');
    expect(troubles).toEqual([]);
  });

  it('says so when its time is up, before and while it is looked at', async () => {
    await using one = await world();
    await enrolled(one);
    const { page } = await asked(one, 'chl_1', 1_500);
    await heading(page, 'Its time is up');
    expect(await page.getByRole('button', { name: 'Approve' }).isVisible()).toBe(false);
    await page.reload();
    await heading(page, 'Nothing to approve');
    await picture(page, 'approve-over');
  });

  it('is about what was opened last, however late word of an earlier one comes', async () => {
    await using one = await world();
    await enrolled(one);
    const [earlier, later] = [one.devices.open('chl_1', FACTS, '42'), one.devices.open('chl_2', FACTS, '43')];
    const { page } = await one.person.page('/push/approve');
    await heading(page, 'Nothing to approve');
    const views: (() => void)[] = [];
    await page.route('**/push/api/view', async (route) => {
      await new Promise<void>((resolve) => views.push(resolve));
      await route.continue();
    });
    for (const { id } of [earlier, later]) {
      const asked = views.length;
      await page.evaluate(`location.hash = '${id}/${one.devices.factorId}'`);
      await until(() => views.length > asked);
    }
    views[1]?.();
    await heading(page, 'Is this you?');
    const answered = page.waitForResponse('**/push/api/view');
    views[0]?.();
    await answered;
    await page.getByLabel('Number on your other screen').fill('43');
    await page.getByRole('button', { name: 'Approve' }).click();
    await heading(page, 'Approved');
    expect([earlier.outcome, later.outcome]).toEqual([undefined, 'approved']);
  });

  it('asks nothing any more of what was opened before', async () => {
    await using one = await world();
    await enrolled(one);
    const { page } = await asked(one, 'chl_1');
    await page.getByRole('button', { name: 'This was not me', exact: true }).click();
    await page.getByRole('dialog').waitFor();
    one.devices.open('chl_2', FACTS, '43');
    await page.evaluate(`location.hash = 'chl_2/${one.devices.factorId}'`);
    await page.getByRole('dialog').waitFor({ state: 'hidden' });
    await heading(page, 'Is this you?');
  });

  it('shows nothing that somebody in between changed', async () => {
    await using one = await world();
    await enrolled(one);
    const action = { resource: 'accounts/42', action: 'transfer.create', details: new Map(FACTS) };
    const changes = [
      { resource: 'accounts/43' },
      { details: new Map([['amount', '1']]) },
      { subject: 'eve' },
      // Fits by itself, but is for somebody else.
      { subject: 'eve', actionDigest: actionDigest(one.devices.realm, 'eve', action) },
    ];
    for (const altered of changes) {
      one.devices.altered = altered;
      const { page } = await asked(one, 'chl_1');
      await heading(page, 'That did not work');
      await page.close();
    }
  });

  it('spells out what cannot be seen, and never reads text as HTML', async () => {
    await using one = await world();
    await enrolled(one);
    one.devices.open(
      'chl_9',
      [
        ['note', '<img src=x onerror=alert(1)>'],
        ['to', 'ab\u202edc\u200b'],
      ],
      '42',
    );
    const { page, troubles } = await one.person.page(`/push/approve#chl_9/${one.devices.factorId}`);
    await heading(page, 'Is this you?');
    const shown = await page.locator('dl').innerText();
    expect(shown).toContain('<img src=x onerror=alert(1)>');
    expect(shown).toContain('ab⟨U+202E⟩dc⟨U+200B⟩');
    expect(troubles).toEqual([]);
  });

  it('can be sent again after an outage, with the number that was typed', async () => {
    await using one = await world();
    await enrolled(one);
    const { page, challenge } = await asked(one, 'chl_1');
    const sent: (string | null)[] = [];
    page.on('request', (request) => {
      if (request.url().endsWith('/push/api/answer')) sent.push(request.postData());
    });
    await page.getByLabel('Number on your other screen').fill('42');
    one.devices.next = new Error('away');
    await page.getByRole('button', { name: 'Approve' }).click();
    await heading(page, 'That did not work');
    await page.getByRole('button', { name: 'Try again' }).click();
    await heading(page, 'Approved');
    expect(challenge.outcome).toBe('approved');
    // An answer that only got lost has to be found again.
    expect(sent).toHaveLength(2);
    expect(sent[1]).toBe(sent[0]);
  });

  it('is of no use in a browser without the key', async () => {
    await using one = await world();
    const { page } = await asked(one, 'chl_1');
    await heading(page, 'Not set up');
    expect(one.devices.visits).toEqual([]);
  });
});

describe('the page "this was not me"', () => {
  it('says what happened, and locks on a press and not before', async () => {
    await using one = await world();
    const { page, troubles } = await one.person.page('/not-me#good');
    await heading(page, 'Was this you?');
    expect(page.url()).toBe(`${one.origin}/not-me`);
    await page.getByText('A new way to confirm that it is you was added').waitFor();
    await picture(page, 'not-me');
    expect(one.locked).toEqual([]);
    await page.getByRole('button', { name: 'Lock my account' }).click();
    await heading(page, 'Your account is locked');
    await picture(page, 'not-me-locked');
    expect(one.locked).toEqual(['good']);
    await page.goto(`${one.origin}/not-me#good`);
    await heading(page, 'Your account is locked');
    expect(troubles).toEqual([]);
  });

  it('says when a link is over', async () => {
    await using one = await world();
    const { page } = await one.person.page('/not-me#bad');
    await heading(page, 'This link does not work');
    await page.goto(`${one.origin}/not-me`);
    await heading(page, 'This link does not work');
  });
});

describe('every page', () => {
  it.each(['light', 'dark'] as const)(
    'fits a narrow phone and can be used by keyboard alone, in %s',
    async (colorScheme) => {
      await using one = await world({ colorScheme, viewport: { width: 320, height: 640 } });
      await enrolled(one);
      const { page } = await asked(one, 'chl_1');
      await heading(page, 'Is this you?');
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(320);
      expect(await page.evaluate('document.activeElement?.tagName')).toBe('H1');
      await picture(page, `approve-320-${colorScheme}`);
      await page.keyboard.press('Tab');
      await page.keyboard.type('42');
      await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      await heading(page, 'Approved');
    },
  );

  it('cannot be put into a frame', async () => {
    await using one = await world();
    const { page } = await one.person.page('/not-me#good');
    const refused = await page.evaluate(async () => {
      // biome-ignore lint/suspicious/noExplicitAny: runs in the page.
      const { document, location } = globalThis as any;
      const frame = document.createElement('iframe');
      frame.src = `${location.origin}/push/approve`;
      document.body.append(frame);
      await new Promise((resolve) => {
        frame.onload = resolve;
        setTimeout(resolve, 2_000);
      });
      return frame.contentDocument === null || frame.contentDocument.body.innerText === '';
    });
    expect(refused).toBe(true);
  });
});
