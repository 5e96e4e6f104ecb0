import { Sidecar } from '../support/sidecar.ts';
import { describeRaces } from './races.contract.ts';

describeRaces('the running server', async () => {
  const sidecar = await Sidecar.start();
  return {
    clients: [sidecar.client(), sidecar.client(), sidecar.client(), sidecar.client()],
    operator: sidecar.operator(),
    metric: (name) => sidecar.metric(name),
    [Symbol.asyncDispose]: () => sidecar[Symbol.asyncDispose](),
  };
});
