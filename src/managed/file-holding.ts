import type { KeyObject } from 'node:crypto'
import { readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { CertificateSection } from '../config/config.ts'
import { ensureDirectory, type FileOwner, removeLeftovers, writeDurably } from '../durable-file.ts'
import type { FetchedBox, PluginContext } from '../plugin-api.ts'
import type { Chain } from '../x509/chain.ts'
import { parseCsrPem } from '../x509/csr.ts'
import { formatPem } from '../x509/pem.ts'
import { generatePrivateKey, keyTypeOf, privateKeyPem } from '../x509/private-key.ts'
import { spkiSha256 } from '../x509/spki.ts'
import { parseRoots, proveChain } from './chain-proof.ts'
import type { HeldRequest, Holding } from './holding.ts'
import {
  type CertificateMemory,
  type InstalledCertificate,
  type InstalledFile,
  type MadeRequest,
  readMemory,
  writeMemory,
} from './memory.ts'
import { type MakePkcs12, type OutputFile, outputFiles, outputPaths, sha256Of } from './output-files.ts'
import { findOwner } from './owner.ts'
import { checkPlaces, type Placed, placeFiles, removeLeftPlaces, TornError } from './placement.ts'
import { readInstalled, readKey } from './read-installed.ts'
import { changesBetween, type Wish } from './wish.ts'

export type FileHoldingParts = {
  /** Where we keep what is not installed: the next key, and what we remember. */
  readonly folder: string
  readonly wish: Wish
  readonly context: PluginContext
  readonly makePkcs12: MakePkcs12
  /** Runs `check`; throws when what was installed is not right. */
  check(chain: Chain): Promise<void>
  /** The time, asked where a certificate seems not to be valid now: it may be our clock that is wrong. */
  trustedNowMs(): Promise<number>
}

/** A key that was made elsewhere, and the certificate for it. */
export type OpenedBox = { readonly box: FetchedBox; readonly key: KeyObject; readonly chain: Chain }

export type FileHolding = Holding & {
  /** Makes this the next, if it may be installed; durable when resolved. @throws ChainError */
  adopt(opened: OpenedBox): Promise<void>
}

const nextKeyFile = 'next.key.pem'

/** Keys and certificates in files of this machine. */
export function createFileHolding({ values }: CertificateSection, parts: FileHoldingParts): FileHolding {
  const { folder, wish, context } = parts
  const nextKeyPath = join(folder, nextKeyFile)
  let wantedOwner: FileOwner | undefined
  const held = (made: MadeRequest): HeldRequest => ({
    postedBytes: Buffer.from(made.csrPem, 'latin1'),
    changes: changesBetween(made.wish, wish),
  })

  /** The key that is in use, found by the request it was certified with. */
  async function findInstalledKey({ current }: CertificateMemory): Promise<KeyObject | undefined> {
    if (current === undefined) return undefined
    const { publicKeyHash } = parseCsrPem(current.csrPem)
    for (const { path } of current.files.filter(({ holdsKey }) => holdsKey)) {
      const key = await readKey(path)
      if (key !== undefined && spkiSha256(key, 'hex') === publicKeyHash) return key
    }
    return undefined
  }

  async function keyForNext(memory: CertificateMemory): Promise<{ key: KeyObject; isNew: boolean }> {
    const installed = values['reuse-key'] ? ((await findInstalledKey(memory)) ?? (await readGivenKey())) : undefined
    const isFitting = installed !== undefined && keyTypeOf(installed) === values['key-type']
    return isFitting
      ? { key: installed, isNew: false }
      : { key: await generatePrivateKey(values['key-type']), isNew: true }
  }

  /** With reuse-key, a key that somebody put there before us is the one to use. */
  async function readGivenKey(): Promise<KeyObject | undefined> {
    const path = values.directory === undefined ? values.key : join(values.directory, 'privkey.pem')
    return path === undefined ? undefined : await readKey(path)
  }

  async function draft(key: KeyObject): Promise<MadeRequest> {
    // Loaded when it is needed: ASN.1 is a large library.
    const { buildRequestDer } = await import('./request-draft.ts')
    return { csrPem: formatPem('CERTIFICATE REQUEST', buildRequestDer(values, key)), wish }
  }

  async function makeNext(key: KeyObject, isNew: boolean, next: MadeRequest): Promise<HeldRequest> {
    await ensureDirectory(folder)
    if (isNew) await writeSecret(nextKeyPath, privateKeyPem(key))
    else await rm(nextKeyPath, { force: true })
    await writeMemory(folder, { ...(await readMemory(folder)), next })
    return held(next)
  }

  async function begin(): Promise<HeldRequest> {
    await checkPlaces(outputPaths(values), values.directory)
    if (values.owner !== undefined) await findOwner(values.owner)
    const { rootsPem } = await readRoots()
    if (rootsPem !== undefined) parseRoots(rootsPem, context.clock.nowMs())
    const { key, isNew } = await keyForNext(await readMemory(folder))
    return await makeNext(key, isNew, await draft(key))
  }

  async function prove(chain: Chain, { csrPem }: MadeRequest, memory: CertificateMemory): Promise<void> {
    const { notBeforeMs, notAfterMs } = chain.leaf
    const ownMs = context.clock.nowMs()
    const nowMs = ownMs >= notBeforeMs && ownMs < notAfterMs ? ownMs : await parts.trustedNowMs()
    const need = parseCsrPem(csrPem)
    proveChain(chain, { need, nowMs, ...(await readRoots()), ...formerBeginning(memory) })
  }

  /** The key of the next request, or of the current one. */
  async function keyOf(memory: CertificateMemory, made: MadeRequest): Promise<KeyObject> {
    const { publicKeyHash } = parseCsrPem(made.csrPem)
    const candidates = [await readKey(nextKeyPath), await findInstalledKey(memory), await readGivenKey()]
    const key = candidates.find(
      (candidate) => candidate !== undefined && spkiSha256(candidate, 'hex') === publicKeyHash,
    )
    if (key === undefined) throw new KeyLostError()
    return key
  }

  async function install(chain: Chain, occasion: 'next' | 'again'): Promise<void> {
    const memory = await readMemory(folder)
    const made = occasion === 'next' ? memory.next : memory.current
    if (made === undefined) throw new Error('there is no request to install a certificate for')
    await prove(chain, made, memory)
    if (await isInPlace(chain, made, memory)) {
      // Whoever hands it over again and again has nothing restarted by it.
      if (occasion === 'next') await noteNext(memory, made)
      return
    }
    const keyPem = privateKeyPem(await keyOf(memory, made))
    try {
      const files = await outputFiles(values, chain, keyPem, parts.makePkcs12)
      // Who dies from here on leaves files that may not belong together: the next look must not wait.
      await writeMemory(folder, { ...memory, placing: true })
      await placeAndCheck(files, chain).catch(async (error: unknown) => {
        if (!(error instanceof TornError)) await writeMemory(folder, withoutPlacing(memory))
        throw error
      })
      const { serial, notBeforeMs } = chain.leaf
      const current = { ...made, wish: occasion === 'next' ? wish : made.wish, serial, notBeforeMs }
      const { next, trouble: _, ...rest } = memory
      await writeMemory(folder, {
        ...withoutPlacing(rest),
        ...(occasion === 'again' && next !== undefined ? { next } : {}),
        current: { ...current, files: files.map(noteOf) },
        hookDue: { failures: 0, retryAtMs: 0, sinceMs: context.clock.nowMs() },
      })
      if (occasion === 'next') await rm(nextKeyPath, { force: true })
    } finally {
      keyPem.fill(0)
    }
  }

  /** Nothing is to be done for it: it is what was installed last, and as it was left. */
  async function isInPlace({ leaf }: Chain, made: MadeRequest, { current }: CertificateMemory): Promise<boolean> {
    const isSame =
      leaf.serial === current?.serial &&
      parseCsrPem(made.csrPem).publicKeyHash === parseCsrPem(current.csrPem).publicKeyHash
    return isSame && (await findDamage()) === undefined
  }

  async function noteNext({ next: _, trouble: __, ...memory }: CertificateMemory, made: MadeRequest): Promise<void> {
    if (memory.current === undefined) return
    const { box: ___, ...installed } = memory.current
    await writeMemory(folder, { ...memory, current: { ...installed, ...made, wish } })
    await rm(nextKeyPath, { force: true })
  }

  /** Another CA may date its certificates back as it likes. */
  function formerBeginning({ current }: CertificateMemory): { formerNotBeforeMs?: number } {
    const { notBeforeMs } = current === undefined ? {} : beginningOf(current)
    return notBeforeMs === undefined ? {} : { formerNotBeforeMs: notBeforeMs }
  }

  function beginningOf({ notBeforeMs, wish: { issuer } }: InstalledCertificate): { notBeforeMs?: number } {
    return notBeforeMs === undefined || issuer !== wish.issuer ? {} : { notBeforeMs }
  }

  async function place(files: readonly OutputFile[], chain: Chain): Promise<Placed> {
    const owner = values.owner === undefined ? undefined : await findOwner(values.owner)
    const version = `${context.clock.nowMs()}-${chain.leaf.serial.toLowerCase()}`
    return await placeFiles(files, { directory: values.directory, owner }, version)
  }

  async function placeAndCheck(files: readonly OutputFile[], chain: Chain): Promise<void> {
    const placed = await place(files, chain)
    try {
      await parts.check(chain)
    } catch (error) {
      await placed.undo()
      throw error
    }
  }

  async function readRoots(): Promise<{ rootsPem?: string }> {
    const file = values['ca-file']
    return file === undefined ? {} : { rootsPem: await readFile(file, 'utf8') }
  }

  async function findDamage() {
    const memory = await readMemory(folder)
    const { current } = memory
    if (current === undefined) return undefined
    const reason =
      (await findDifference(current.files)) ?? (memory.placing === true ? 'its installation was cut off' : undefined)
    if (reason === undefined) return undefined
    return { reason, keyIsLost: (await findInstalledKey(memory)) === undefined }
  }

  /** Asked once: it takes two processes. undefined: none is wanted, or it is not there, which the next one says. */
  async function findWantedOwner(): Promise<FileOwner | undefined> {
    if (values.owner !== undefined) wantedOwner ??= await findOwner(values.owner).catch(() => undefined)
    return wantedOwner
  }

  async function findDifference(files: readonly InstalledFile[]): Promise<string | undefined> {
    const known = new Map(files.map((file) => [file.path, file]))
    const owner = await findWantedOwner()
    for (const path of outputPaths(values)) {
      const content = await readInstalled(path)
      if (content === undefined) return `${path} is missing`
      const file = known.get(path)
      if (file === undefined) return `${path} is to be written, too`
      const isSame = sha256Of(content) === file.sha256
      if (file.holdsKey || path === values.pkcs12) content.fill(0)
      if (!isSame) return `${path} was changed by somebody else`
      const mode = file.holdsKey || path === values.pkcs12 ? values['key-mode'] : values.mode
      const there = await stat(path)
      if ((there.mode & 0o777) !== mode) return `${path} has another mode`
      if (owner !== undefined && (there.uid !== owner.uid || there.gid !== owner.gid))
        return `${path} has another owner`
    }
    return undefined
  }

  return {
    async next() {
      const { next } = await readMemory(folder)
      return next === undefined ? undefined : held(next)
    },
    async current() {
      const { current } = await readMemory(folder)
      if (current === undefined) return undefined
      return { ...held(current), serial: current.serial, ...beginningOf(current) }
    },
    begin,
    async adopt({ key, chain, box }) {
      const next = { ...(await draft(key)), box }
      await prove(chain, next, await readMemory(folder))
      await makeNext(key, true, next)
    },
    async discard() {
      const { next: _, ...rest } = await readMemory(folder)
      await writeMemory(folder, rest)
      await rm(nextKeyPath, { force: true })
    },
    install,
    findDamage,
    async tidy() {
      await removeLeftPlaces(outputPaths(values), values.directory)
      await removeLeftovers(folder, nextKeyFile)
      const { next } = await readMemory(folder)
      // It was installed, or given up, by a process that died before it could say so.
      if (next === undefined) await rm(nextKeyPath, { force: true })
    },
  }
}

function withoutPlacing({ placing: _, ...memory }: CertificateMemory): CertificateMemory {
  return memory
}

/** The key of a request is nowhere any more: what was issued for it is of no use. */
export class KeyLostError extends Error {
  override readonly name = 'KeyLostError'
  constructor() {
    super('the private key of the request is gone; another is made')
  }
}

async function writeSecret(path: string, content: Buffer): Promise<void> {
  try {
    await writeDurably(path, content)
  } finally {
    content.fill(0)
  }
}

function noteOf({ path, content, holdsKey }: OutputFile): InstalledFile {
  return { path, sha256: sha256Of(content), holdsKey }
}
