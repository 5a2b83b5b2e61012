import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import type { Logger } from '../plugin-api.ts'
import type { TlsIdentity, TlsSource } from './tls-server.ts'

export type TlsFilePaths = { readonly certificateFile: string; readonly keyFile: string }

/** A certificate and its key in two files, looked at again now and then: whoever renews them need tell nobody. */
export interface TlsFiles extends TlsSource, Disposable {
  readonly paths: TlsFilePaths
  /** Reads them again where they changed; a pair that cannot be used changes nothing, and the log says why. */
  refresh(): Promise<void>
}

export type TlsFilesParts = {
  readonly log: Logger
  readonly nowMs: () => number
  readonly repeat: (everyMs: number, act: () => void) => Disposable
}

const checkEveryMs = 30_000

/** @throws Error that says what is wrong with the pair */
export async function openTlsFiles(paths: TlsFilePaths, { log, nowMs, repeat }: TlsFilesParts): Promise<TlsFiles> {
  let seen = await fingerprintOf(paths)
  let current = await readPair(paths)
  const listening = new Set<() => void>()
  warnAboutTime(current)

  function warnAboutTime({ certificatePem }: TlsIdentity): void {
    const { validFromDate, validToDate } = new X509Certificate(certificatePem)
    if (nowMs() > validToDate.getTime())
      log.warn('the certificate of the management listener has expired: hosts will not connect', {
        certificate: paths.certificateFile,
        notAfter: validToDate,
      })
    else if (nowMs() < validFromDate.getTime())
      log.warn('the certificate of the management listener is not valid yet', {
        certificate: paths.certificateFile,
        notBefore: validFromDate,
      })
  }

  async function look(): Promise<void> {
    const found = await fingerprintOf(paths)
    if (found === seen) return
    // Also where the pair is of no use: it is complained about once, and read again when it has changed once more.
    seen = found
    try {
      const next = await readPair(paths)
      if (next.certificatePem === current.certificatePem && next.keyPem === current.keyPem) return
      current = next
    } catch (error) {
      log.error('the changed certificate of the management listener cannot be used; the old one goes on', { error })
      return
    }
    warnAboutTime(current)
    for (const changed of listening) changed()
    log.info('the management listener has a new certificate', { certificate: paths.certificateFile })
  }

  // One after another: a slow look must not bring back what a later one has replaced.
  let lastLook = Promise.resolve()
  const refresh = () => {
    lastLook = lastLook.then(look)
    return lastLook
  }
  const timer = repeat(checkEveryMs, () => void refresh())
  return {
    paths,
    refresh,
    current: () => current,
    onChange(changed) {
      listening.add(changed)
      return () => listening.delete(changed)
    },
    [Symbol.dispose]: () => timer[Symbol.dispose](),
  }
}

/** Changes whenever one of the files does, in place or by another one. */
async function fingerprintOf({ certificateFile, keyFile }: TlsFilePaths): Promise<string> {
  const marks = await Promise.all(
    [certificateFile, keyFile].map(async (file) => {
      const found = await stat(file, { bigint: true }).catch(() => undefined)
      return found === undefined ? 'none' : [found.dev, found.ino, found.size, found.mtimeNs, found.ctimeNs].join(':')
    }),
  )
  return marks.join(' ')
}

async function readPair({ certificateFile, keyFile }: TlsFilePaths): Promise<TlsIdentity> {
  const [certificatePem, keyPem] = await Promise.all([
    readPem('tls-certificate', certificateFile),
    readPem('tls-key', keyFile),
  ])
  const certificate = parse(`tls-certificate = ${certificateFile}: no certificate in PEM`, () => {
    return new X509Certificate(certificatePem)
  })
  const key = parse(`tls-key = ${keyFile}: no private key in PEM without a password`, () => createPrivateKey(keyPem))
  if (!certificate.checkPrivateKey(key))
    throw new Error(
      `tls-key = ${keyFile} is not the key of the first certificate in tls-certificate = ${certificateFile}`,
    )
  return { certificatePem, keyPem }
}

async function readPem(option: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw new Error(`${option} = ${file} cannot be read: ${error instanceof Error ? error.message : 'unknown reason'}`)
  }
}

function parse<T>(complaint: string, read: () => T): T {
  try {
    return read()
  } catch (cause) {
    throw new Error(complaint, { cause })
  }
}
