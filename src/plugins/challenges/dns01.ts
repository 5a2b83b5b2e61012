import { dns01TxtValue } from '../../acme/key-authorization.ts'
import { asProblemError } from '../../acme/problem.ts'
import { createResolver, type Resolver, systemServers } from '../../dns/lookup.ts'
import { followCnames } from '../../dns/zone.ts'
import type { ChallengeSolver, ChallengeTask, DnsProvider, PluginContext, TxtRecord } from '../../plugin-api.ts'
import { createTurns } from '../../turns.ts'
import type { Dns01Values } from './dns01-options.ts'
import { waitUntilShown } from './propagation.ts'

/** What cannot be removed now is tried again after so long; a record that is left stays for ever. */
const cleanUpPausesMs = [500, 2000]

/** RFC 8555 §8.4 over any DNS provider: what to publish is the same everywhere, how is the provider's business. */
export function createDns01Solver(
  provider: DnsProvider & Partial<AsyncDisposable>,
  values: Dns01Values,
): ChallengeSolver & AsyncDisposable {
  /** Where each value was put: a CNAME that changes meanwhile must not hide it from cleaning up. */
  const targets = new Map<string, string>()
  const turns = createTurns()
  const timeoutMs = values['propagation-timeout'] * 1000
  const waitAtProvider = provider.waitUntilVisible?.bind(provider)

  const others = (): Resolver => createResolver(systemServers())
  const resolver = (): Resolver | undefined => {
    const servers = values.resolver.length > 0 ? values.resolver : provider.resolvers
    return servers === undefined ? undefined : createResolver(servers)
  }

  async function recordOf(task: ChallengeTask, context: PluginContext): Promise<TxtRecord> {
    const { fqdn, value } = ownRecordOf(task)
    const known = targets.get(keyOf(task))
    if (known !== undefined || !values['follow-cname']) return { fqdn: known ?? fqdn, value }
    return { fqdn: await followCnames(resolver() ?? others(), fqdn, context), value }
  }

  async function waitUntilVisible(task: ChallengeTask, context: PluginContext): Promise<void> {
    const record = await recordOf(task, context)
    await waitAtProvider?.(record, context, task)
    if (timeoutMs === 0) return
    const system = others()
    await waitUntilShown(record, { nameservers: values.nameserver, timeoutMs }, resolver() ?? system, system, context)
  }

  async function removeOnce(task: ChallengeTask, context: PluginContext): Promise<void> {
    const record = await recordOf(task, context)
    await turns.take(record.fqdn, () => provider.removeTxt(record, context, task))
    targets.delete(keyOf(task))
  }

  return {
    type: 'dns-01',
    async present(task, context) {
      const record = await recordOf(task, context)
      targets.set(keyOf(task), record.fqdn)
      await turns.take(record.fqdn, () => provider.addTxt(record, context, task))
    },
    ...(timeoutMs === 0 && waitAtProvider === undefined ? {} : { waitUntilVisible }),
    async cleanUp(task, context) {
      for (const pauseMs of cleanUpPausesMs) {
        try {
          return await removeOnce(task, context)
        } catch (error) {
          if (context.signal.aborted || asProblemError(error).retry.when !== 'backoff') throw error
          await context.clock.sleep(pauseMs, context.signal)
        }
      }
      await removeOnce(task, context)
    },
    async [Symbol.asyncDispose]() {
      await provider[Symbol.asyncDispose]?.()
    },
  }
}

function ownRecordOf(task: ChallengeTask): TxtRecord {
  return { fqdn: `_acme-challenge.${task.identifier.value}`, value: dns01TxtValue(task.keyAuthorization) }
}

function keyOf(task: ChallengeTask): string {
  const { fqdn, value } = ownRecordOf(task)
  return `${fqdn} ${value}`
}
