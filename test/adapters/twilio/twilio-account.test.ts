import { afterAll, beforeAll } from 'vitest';
import { ACCOUNT_SID, AUTH_TOKEN, TwilioStandIn } from '../../support/twilio-stand-in.ts';
import { describeTwilio } from './twilio-sender.contract.ts';

let standIn: TwilioStandIn;
beforeAll(async () => {
  standIn = await TwilioStandIn.start();
});
afterAll(() => standIn[Symbol.asyncDispose]());

describeTwilio('the stand-in for Twilio', () => ({
  accountSid: ACCOUNT_SID,
  authToken: AUTH_TOKEN,
  baseUrl: standIn.url,
}));

// docs/sms.md says how to run this against Twilio: with test credentials nothing is sent and nothing is paid.
const { TWILIO_TEST_ACCOUNT_SID: accountSid = '', TWILIO_TEST_AUTH_TOKEN: authToken = '' } = process.env;
if (accountSid !== '' && authToken !== '') {
  describeTwilio('Twilio itself', () => ({ accountSid, authToken, baseUrl: 'https://api.twilio.com' }));
}
