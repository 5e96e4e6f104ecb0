import type { MessageInitShape } from '@bufbuild/protobuf';
import type { ConsentSchema } from '#src/gen/sallyport/v1/privacy_pb.js';
import type { ShownConsent } from '#src/services/privacy/consents.ts';
import { methodToProto, timestampToProto } from './common.ts';

export function consentToProto(consent: ShownConsent): MessageInitShape<typeof ConsentSchema> {
  const { id, method, textVersion, language, grantedAt, withdrawnAt, network } = consent;
  return {
    id,
    method: methodToProto(method),
    textVersion,
    language,
    grantTime: timestampToProto(grantedAt),
    ...(withdrawnAt === undefined ? {} : { withdrawTime: timestampToProto(withdrawnAt) }),
    ipAddress: network,
  };
}
