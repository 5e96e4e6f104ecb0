import type { MadeDevice, PushDevices } from '../../services/methods/push-api.ts';
import type { JsonFields, jsonApi } from './json-api.ts';
import { json, type Route } from './router.ts';

export interface PushRoutesOptions {
  readonly devices: PushDevices;
  readonly appName: string;
  readonly api: ReturnType<typeof jsonApi>;
}

const MAX_ID = 64;
const MAX_TICKET = 512;
const MAX_SUBSCRIPTION = 4_096;
/** SPKI of a P-256 key is 91 bytes. */
const MAX_KEY = 128;
const SIGNATURE = 64;
const MAX_NUMBER = 16;

/** Enrolling a browser as a push device, and its answers. */
export function pushRoutes({ devices, appName, api }: PushRoutesOptions): readonly Route[] {
  return [
    {
      path: '/push/config.json',
      method: 'GET',
      kind: 'page',
      handle: async () => json(200, { appName, applicationServerKey: await devices.publicKey() }),
    },
    api('/push/api/enroll', async (visit, fields) => {
      const device = await devices.enroll(visit, madeDevice(fields));
      return { ...device, challenge: Buffer.from(device.challenge).toString('base64url') };
    }),
    api('/push/api/confirm', (visit, fields) =>
      devices.confirm(visit, { ...madeDevice(fields), signature: fields.bytes('signature', SIGNATURE) }),
    ),
    api('/push/api/view', async (visit, fields) => {
      const view = await devices.view(visit, { ...named(fields), at: fields.whole('at'), signature: signed(fields) });
      return view ? { found: true, ...view, details: [...view.details] } : { found: false };
    }),
    api('/push/api/answer', async (visit, fields) => {
      const outcome = await devices.answer(visit, {
        ...named(fields),
        number: fields.text('number', MAX_NUMBER),
        approve: fields.flag('approve'),
        notMe: fields.flag('notMe'),
        signature: signed(fields),
      });
      return { outcome };
    }),
  ];
}

function madeDevice(fields: JsonFields): MadeDevice {
  return {
    ticket: fields.text('ticket', MAX_TICKET),
    subscriptionJson: fields.text('subscription', MAX_SUBSCRIPTION),
    devicePublicKey: fields.bytes('publicKey', MAX_KEY),
  };
}

function named(fields: JsonFields) {
  return {
    realm: fields.text('realm', MAX_ID),
    factorId: fields.text('factorId', MAX_ID),
    challengeId: fields.text('challengeId', MAX_ID),
  };
}

function signed(fields: JsonFields): Uint8Array {
  return fields.bytes('signature', SIGNATURE);
}
