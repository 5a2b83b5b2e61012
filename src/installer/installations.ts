import { join } from 'node:path'
import type { JsonObject } from '../acme/json-object.ts'
import type { Who } from '../channel/permissions.ts'
import { ensureDirectory } from '../durable-file.ts'
import type { HeldRequest, Holding } from '../managed/holding.ts'
import { runDueHooks } from '../managed/hook-runs.ts'
import { readMemory, setAsideDamaged } from '../managed/memory.ts'
import { openSectionFiles } from '../managed/section-files.ts'
import { wishOf } from '../managed/wish.ts'
import type { PluginContext } from '../plugin-api.ts'
import { checkTrustedFile } from '../trusted-file.ts'
import { createTurns } from '../turns.ts'
import { parseChain } from '../x509/chain.ts'
import type { InstalledSection, InstallerConfig } from './configuration.ts'
import { keepNextChain, readInstalledChain, settleNextChain, tidyChains } from './installed-chain.ts'
import { RefusedError } from './refusal.ts'

export type InstallationsParts = {
  readonly config: InstallerConfig
  readonly who: Who
  readonly context: PluginContext
}

/** The certificates of this machine: their keys, their files, their hooks. */
export interface Installations {
  /** @throws RefusedError, ChainError, KeyLostError; Error saying what this machine lacks */
  answer(ask: string, content: JsonObject): Promise<JsonObject>
  /** From now on by this configuration. */
  change(config: InstallerConfig): void
  /** Runs the hooks that are due. @returns why some failed */
  runHooks(wanted?: { readonly now?: boolean }): Promise<string[]>
  /** Runs hooks when it is time for them, until the context's signal. Never rejects. */
  run(): Promise<void>
}

/** Ten certificates with long names and keys. */
const maxChainBytes = 128 * 1024
const pauseMs = 500
/** Hooks that failed are tried again: so often it is looked whether it is time. */
const hooksEveryMs = 10_000
/** Those of one change come together; one that does not come to its end keeps nobody waiting for long. */
const settlingMs = 2000
const longestSettlingMs = 30_000

type Own = { readonly section: InstalledSection; readonly folder: string; readonly holding: Holding }

export function createInstallations({ config: first, who, context }: InstallationsParts): Installations {
  const { clock, log } = context
  const turns = createTurns()
  let config = first
  let all = openAll()
  /** Written just now: what was handed over may have been in its place before. */
  const placed = new Set<string>()
  /** Asked for, not installed yet. */
  const underWay = new Set<string>()
  let lastWorkMs = -settlingMs
  let lookedAtMs = clock.monotonicMs()
  let areHooksNew = true
  /** Somebody may have cured what failed. */
  let areHooksAfresh = false

  function openAll(): Map<string, Own> {
    return new Map(config.certificates.map((section) => [section.name, open(section)]))
  }

  function open(section: InstalledSection): Own {
    const folder = join(config.stateFolder, 'certificates', section.name)
    const holding = openSectionFiles(section, {
      folder,
      context,
      wish: wishOf(section, section.issuerPlace),
      // There is nobody else to ask.
      trustedNowMs: async () => clock.nowMs(),
      async placed(chain) {
        placed.add(section.name)
        await keepNextChain(folder, chain)
      },
    })
    return { section, folder, holding }
  }

  function find({ block }: JsonObject): Own {
    if (typeof block !== 'string') throw new RefusedError('which certificate is meant is not said')
    const own = all.get(block)
    if (own !== undefined) return own
    const why = config.others.get(block)
    if (why !== undefined) throw new RefusedError(`[certificate "${block}"] is the server's: ${why}`)
    throw new RefusedError(
      `the installer's configuration has no [certificate ${JSON.stringify(block.slice(0, 100))}]; when it is new, have the installer read its configuration again (systemctl reload acmems-install)`,
    )
  }

  async function install(own: Own, { occasion, chain: pem }: JsonObject): Promise<void> {
    if (occasion !== 'next' && occasion !== 'again') throw new RefusedError('install is for next, or again')
    if (typeof pem !== 'string') throw new RefusedError('there is no chain to install')
    if (pem.length > maxChainBytes) throw new RefusedError(`a chain of more than ${maxChainBytes} octets`)
    const chain = parseChain(pem)
    const { section, holding, folder } = own
    checkRoots(section)
    const changes = ownChanges(occasion === 'next' ? await holding.next() : undefined)
    if (changes.length > 0)
      throw new RefusedError(`${changes.join(' and ')} changed since the request was made: it is no good any more`)
    await ensureDirectory(folder)
    placed.delete(section.name)
    await holding.install(chain, occasion)
    if (!placed.has(section.name)) return
    await settleNextChain(folder)
    const { serial, identifiers } = chain.leaf
    log.info('certificate installed', {
      certificate: section.name,
      names: identifiers.map(({ value }) => value),
      serial,
      occasion,
    })
  }

  function checkRoots({ values }: InstalledSection): void {
    const path = values['ca-file']
    if (path === undefined) return
    try {
      checkTrustedFile(path, who)
    } catch (cause) {
      throw new Error(`ca-file: ${cause instanceof Error ? cause.message : 'unreadable'}`, { cause })
    }
  }

  const questions: Readonly<Record<string, (own: Own, content: JsonObject) => Promise<JsonObject>>> = {
    async next({ holding }) {
      const held = await holding.next()
      return held === undefined ? {} : jsonOf(held)
    },
    async current({ holding, folder }) {
      const held = await holding.current()
      if (held === undefined) return {}
      const { serial, notBeforeMs } = held
      const { hookDue } = await readMemory(folder)
      return {
        ...jsonOf(held),
        serial,
        ...(notBeforeMs === undefined ? {} : { notBeforeMs }),
        ...(hookDue === undefined ? {} : { hookDue: true }),
      }
    },
    async damage({ holding }) {
      const damage = await holding.findDamage()
      return damage === undefined ? {} : { damage: { ...damage } }
    },
    async tidy({ holding, folder, section }) {
      const aside = await setAsideDamaged(folder)
      if (aside !== undefined)
        log.warn('what was remembered of a certificate is damaged; it begins anew', {
          certificate: section.name,
          aside,
        })
      await tidyChains(folder)
      await holding.tidy()
      return {}
    },
    async begin({ holding, section }) {
      checkRoots(section)
      const held = await holding.begin()
      underWay.add(section.name)
      return jsonOf(held)
    },
    async discard({ holding, section }) {
      await holding.discard()
      underWay.delete(section.name)
      return {}
    },
    async install(own, content) {
      await install(own, content)
      underWay.delete(own.section.name)
      areHooksNew = true
      return {}
    },
  }
  /** These only read, and what they read is whole at any time. */
  const reading = new Set(['next', 'current'])

  async function answer(ask: string, content: JsonObject): Promise<JsonObject> {
    if (ask === 'hello') return { certificates: [...all.keys()] }
    const question = Object.hasOwn(questions, ask) ? questions[ask] : undefined
    if (question === undefined) throw new RefusedError('that is no question of ours')
    const { section } = find(content)
    if (reading.has(ask)) return await question(find(content), content)
    try {
      return await turns.take(section.name, async () => {
        context.signal.throwIfAborted()
        // A reload may have come meanwhile.
        return await question(find(content), content)
      })
    } finally {
      if (ask !== 'tidy' && ask !== 'damage') lastWorkMs = clock.monotonicMs()
    }
  }

  const runHooks = (wanted?: { readonly now?: boolean }) =>
    runDueHooks(
      {
        context,
        certificates: () => [...all.values()],
        findInstalled: ({ folder }) => readInstalledChain(folder),
        progress: ({ section }, text) => log.debug(text, { certificate: section.name }),
        lock: ({ section }) => lock(section.name),
      },
      wanted,
    )

  /** Waits for its turn, and keeps it until it is disposed of. */
  async function lock(name: string): Promise<AsyncDisposable> {
    const [begun, ended] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const turn = turns.take(name, async () => {
      begun.resolve()
      await ended.promise
    })
    await begun.promise
    return {
      async [Symbol.asyncDispose]() {
        ended.resolve()
        await turn
      },
    }
  }

  async function run(): Promise<void> {
    while (!context.signal.aborted) {
      const nowMs = clock.monotonicMs()
      const isQuiet = underWay.size === 0 && nowMs - lastWorkMs >= settlingMs
      const sinceMs = nowMs - lookedAtMs
      if (sinceMs >= longestSettlingMs || (isQuiet && (areHooksNew || sinceMs >= hooksEveryMs))) {
        lookedAtMs = nowMs
        const wanted = { now: areHooksAfresh }
        areHooksNew = false
        areHooksAfresh = false
        await runHooks(wanted).catch((error: unknown) => log.error('hooks could not be run', { error }))
      }
      await clock.sleep(pauseMs, context.signal).catch(() => undefined)
    }
  }

  return {
    answer,
    runHooks,
    run,
    change(next) {
      config = next
      all = openAll()
      underWay.clear()
      areHooksNew = true
      areHooksAfresh = true
    },
  }
}

function jsonOf(held: HeldRequest): JsonObject {
  return { csr: Buffer.from(held.postedBytes).toString('latin1'), changes: ownChanges(held) }
}

/** Who issues is the server's business, which knows it better. */
function ownChanges(held: HeldRequest | undefined): string[] {
  return (held?.changes ?? []).filter((change) => change !== 'issuer')
}
