import { dns01TxtValue } from '../../acme/key-authorization.ts'
import type { ChallengeSolver, ChallengeTask, DnsProvider, TxtRecord } from '../../plugin-api.ts'

/** RFC 8555 §8.4 over any DNS provider: what to publish is the same everywhere, how is the provider's business. */
export function createDns01Solver(provider: DnsProvider & Partial<AsyncDisposable>): ChallengeSolver & AsyncDisposable {
  const wait = provider.waitUntilVisible?.bind(provider)
  return {
    type: 'dns-01',
    present: (task, context) => provider.addTxt(txtRecordOf(task), context, task),
    ...(wait === undefined ? {} : { waitUntilVisible: (task, context) => wait(txtRecordOf(task), context, task) }),
    cleanUp: (task, context) => provider.removeTxt(txtRecordOf(task), context, task),
    async [Symbol.asyncDispose]() {
      await provider[Symbol.asyncDispose]?.()
    },
  }
}

function txtRecordOf(task: ChallengeTask): TxtRecord {
  return { fqdn: `_acme-challenge.${task.identifier.value}`, value: dns01TxtValue(task.keyAuthorization) }
}
