import { ChallengePurpose } from '../../gen/sallyport/v1/challenge_pb.js';
import {
  accountName,
  bytes,
  eventType,
  type FieldRule,
  id,
  languageTag,
  list,
  type MessageRules,
  map,
  multiline,
  number,
  oneOf,
  printable,
  text,
  uuid,
} from './rules.ts';

const realm = text(64);
const subject = text(128, printable);
const reason = text(256, printable);
// Anything that is not a good token must look like any other bad one, so only its size is a matter of form.
const token = text(4096);
const receipt = text(8192);
const pageToken = text(1024);
// A code that is not six digits is a wrong proof, which is counted; refusing its form here would make it free.
const code = text(64);
const json = text(32 * 1024);
const pageSize = number(0, 2 ** 31 - 1);
const labels = map(16, text(64, printable), text(256, multiline));
const name = text(64, printable);
const person: Readonly<Record<string, FieldRule>> = { realm, subject };
const challenge: Readonly<Record<string, FieldRule>> = { realm, challenge_id: id('challenge'), session_token: token };

/** The rules of every request message, by its full name: the limits that the comments of the proto state. */
export const REQUEST_RULES: Readonly<Record<string, MessageRules>> = {
  // Shared
  'sallyport.v1.Action': {
    required: ['resource', 'action'],
    fields: {
      resource: text(512, printable),
      action: text(128, printable),
      details: map(32, text(64, printable), text(1024, multiline)),
      digest: text(64),
    },
  },
  'sallyport.v1.ClientContext': {
    // An unreadable address raises the risk; it is not a mistake of form.
    fields: { ip_address: text(64), user_agent: text(1024), device_id: text(128) },
  },
  'sallyport.v1.ConsentGrant': {
    required: ['text_version'],
    fields: { text_version: text(64, printable), language: languageTag },
  },
  'google.protobuf.FieldMask': { fields: { paths: list(8, oneOf('labels')) } },

  // Challenges
  'sallyport.v1.VerifyChallengeRequest': { required: ['command'], fields: {} },
  'sallyport.v1.VerifyChallengeRequest.Resume': { required: ['challenge_id'], fields: challenge },
  'sallyport.v1.VerifyChallengeRequest.Choose': { required: ['method'], fields: { factor_id: id('factor') } },
  'sallyport.v1.VerifyChallengeRequest.Answer': { required: ['proof'], fields: { request_id: uuid } },
  'sallyport.v1.VerifyChallengeRequest.Resend': { fields: {} },
  'sallyport.v1.VerifyChallengeRequest.Cancel': { fields: { reason } },
  'sallyport.v1.Proof': { required: ['kind'], fields: {} },
  'sallyport.v1.TotpProof': { fields: { code, next_code: code } },
  'sallyport.v1.SmsProof': { fields: { code } },
  'sallyport.v1.BackupCodeProof': { fields: { code } },
  'sallyport.v1.WebAuthnProof': { fields: { credential_json: json } },
  'sallyport.v1.PushProof': { fields: { factor_id: text(64), number: code, signature: bytes(512) } },
  'sallyport.v1.OpenChallengeRequest': {
    fields: {
      ...person,
      session_token: token,
      methods: list(8),
      audience: text(256, printable),
      request_id: uuid,
      trusted_device_token: token,
      language: languageTag,
    },
    requiredWhen: [
      {
        field: 'subject',
        words: 'is required without a session_token',
        when: (message) => message['sessionToken'] === '',
      },
      {
        field: 'action',
        words: 'is required, except to sign in or to step up a session',
        when: (message) =>
          message['purpose'] !== ChallengePurpose.LOGIN && message['purpose'] !== ChallengePurpose.STEP_UP,
      },
    ],
  },
  'sallyport.v1.AnswerChallengeRequest': {
    required: ['challenge_id', 'step'],
    fields: { ...challenge, request_id: uuid },
  },
  'sallyport.v1.WatchChallengeRequest': { required: ['challenge_id'], fields: challenge },
  'sallyport.v1.GetChallengeRequest': { required: ['challenge_id'], fields: challenge },
  'sallyport.v1.CancelChallengeRequest': { required: ['challenge_id'], fields: { ...challenge, reason } },
  'sallyport.v1.RedeemReceiptRequest': {
    required: ['receipt', 'subject', 'action'],
    fields: { ...person, receipt, session_token: token, audience: text(256, printable), request_id: uuid },
  },

  // Factors
  'sallyport.v1.ListFactorsRequest': { required: ['subject'], fields: person },
  'sallyport.v1.BeginEnrollmentRequest': {
    required: ['subject', 'method'],
    fields: {
      ...person,
      display_name: name,
      session_token: token,
      receipt,
      replaces: id('factor'),
      account_name: accountName,
      qr_formats: list(8),
      request_id: uuid,
      phone_number: text(32),
      push_subscription_json: text(8192),
      device_public_key: bytes(512),
      temporary_pass: token,
      language: languageTag,
    },
  },
  'sallyport.v1.ConfirmEnrollmentRequest': {
    required: ['subject', 'factor_id', 'proof'],
    fields: {
      ...person,
      factor_id: id('factor'),
      code,
      webauthn_credential_json: json,
      push_signature: bytes(512),
      request_id: uuid,
    },
  },
  'sallyport.v1.RemoveFactorRequest': {
    required: ['subject', 'factor_id'],
    fields: { ...person, factor_id: id('factor'), receipt, request_id: uuid },
  },
  'sallyport.v1.RegenerateBackupCodesRequest': {
    required: ['subject'],
    fields: { ...person, receipt, request_id: uuid },
  },
  'sallyport.v1.GetMfaStatusRequest': { required: ['subject'], fields: person },
  'sallyport.v1.ListTrustedDevicesRequest': { required: ['subject'], fields: person },
  'sallyport.v1.RenameTrustedDeviceRequest': {
    required: ['subject', 'device_id', 'display_name'],
    fields: { ...person, device_id: text(64), display_name: name },
  },
  'sallyport.v1.RevokeTrustedDeviceRequest': {
    required: ['subject'],
    fields: { ...person, device_id: text(64) },
  },

  // Sessions
  'sallyport.v1.CreateSessionRequest': {
    required: ['subject'],
    fields: {
      ...person,
      receipt,
      labels,
      end_session_ids: list(16, id('session')),
      request_id: uuid,
      device_name: name,
    },
  },
  'sallyport.v1.ValidateSessionRequest': { fields: { realm, token } },
  'sallyport.v1.GetSessionRequest': { required: ['session_id'], fields: { realm, session_id: id('session') } },
  'sallyport.v1.UpdateSessionRequest': { fields: { realm, token, receipt, labels, request_id: uuid } },
  'sallyport.v1.ListSessionsRequest': {
    required: ['subject'],
    fields: { ...person, page_size: pageSize, page_token: pageToken },
  },
  'sallyport.v1.RevokeSessionRequest': {
    required: ['session'],
    fields: { ...person, token, session_id: id('session') },
  },
  'sallyport.v1.RevokeAllSessionsRequest': { required: ['subject'], fields: { ...person, except_token: token } },
  'sallyport.v1.WatchRevocationsRequest': { fields: { realm, cursor: pageToken } },

  // Audit
  'sallyport.v1.AuditFilter': {
    fields: {
      ...person,
      types: list(32, eventType),
      challenge_id: id('challenge'),
      session_id: id('session'),
    },
  },
  'sallyport.v1.QueryEventsRequest': { fields: { page_size: pageSize, page_token: pageToken } },
  'sallyport.v1.TailEventsRequest': { fields: { backlog: number(0, 1000) } },
  'sallyport.v1.ExportEventsRequest': { fields: { chain_id: id('chain') } },
  'sallyport.v1.VerifyChainRequest': { fields: { chain_id: id('chain') } },
  'sallyport.v1.GetBufferStatusRequest': { fields: {} },

  // Privacy
  'sallyport.v1.RecordConsentRequest': {
    required: ['subject', 'method', 'text_version', 'language'],
    fields: { ...person, text_version: text(64, printable), language: languageTag, request_id: uuid },
  },
  'sallyport.v1.WithdrawConsentRequest': { required: ['subject', 'method'], fields: { ...person, request_id: uuid } },
  'sallyport.v1.ListConsentsRequest': { required: ['subject'], fields: person },
  'sallyport.v1.ExportSubjectRequest': { required: ['subject'], fields: person },
  'sallyport.v1.EraseSubjectRequest': { required: ['subject'], fields: { ...person, reason, request_id: uuid } },

  // Administration
  'sallyport.v1.ResetSubjectRequest': {
    required: ['subject', 'reason'],
    fields: { ...person, reason, request_id: uuid },
  },
  'sallyport.v1.UnlockSubjectRequest': { required: ['subject', 'reason'], fields: { ...person, reason } },
  'sallyport.v1.CreatePortalLinkRequest': {
    required: ['session_token'],
    fields: { realm, session_token: token, return_to: text(2048, printable) },
  },
  'sallyport.v1.GetInfoRequest': { fields: {} },

  // Health
  'grpc.health.v1.HealthCheckRequest': { fields: { service: text(256) } },
  'grpc.health.v1.HealthListRequest': { fields: {} },

  // Reflection: unknown names are answers of the service, not mistakes of form.
  ...Object.fromEntries(
    ['grpc.reflection.v1', 'grpc.reflection.v1alpha'].flatMap((from): [string, MessageRules][] => [
      [
        `${from}.ServerReflectionRequest`,
        {
          fields: {
            host: text(256),
            file_by_filename: text(512),
            file_containing_symbol: text(512),
            all_extension_numbers_of_type: text(512),
            list_services: text(256),
          },
        },
      ],
      [
        `${from}.ExtensionRequest`,
        { fields: { containing_type: text(512), extension_number: number(-(2 ** 31), 2 ** 31 - 1) } },
      ],
    ]),
  ),
};
