import { makeLocalStores } from '../support/local-stores.ts';
import { describeAttemptStore } from './attempt-store.contract.ts';
import { describeChallengeStore } from './challenge-store.contract.ts';
import { describeFactorStore } from './factor-store.contract.ts';
import { describeMethodStores } from './method-stores.contract.ts';
import { describeProofClaims } from './proof-claims.contract.ts';
import { describeReceiptBurning } from './receipt-burning.contract.ts';
import { describeSessionStore } from './session-store.contract.ts';
import { describeSigningKeyStore } from './signing-key-store.contract.ts';

const name = 'SQLite in the worker thread';
describeChallengeStore(name, makeLocalStores);
describeProofClaims(name, makeLocalStores);
describeReceiptBurning(name, makeLocalStores);
describeAttemptStore(name, makeLocalStores);
describeFactorStore(name, makeLocalStores);
describeSessionStore(name, makeLocalStores);
describeSigningKeyStore(name, makeLocalStores);
describeMethodStores(name, makeLocalStores);
