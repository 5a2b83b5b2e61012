import { connect } from 'node:tls'
import { ipOctets } from '../acme/identifier.ts'
import { reverseName } from '../acme/reverse-name.ts'
import type { ChallengeTask, CheckFinding } from '../plugin-api.ts'
import { acmeIdentifierDigest, acmeTlsProtocol, readAcmeIdentifier } from '../x509/acme-identifier.ts'
import { combineFindings, describePlace } from './by-family.ts'
import { reasonOf } from './http-answer.ts'
import type { FindPlaces, Place } from './places.ts'

/** Makes the handshake of a tls-alpn-01 validator (RFC 8737 §3) with every address of the name. */
export async function checkTlsAlpn(
  { identifier, keyAuthorization }: Pick<ChallengeTask, 'identifier' | 'keyAuthorization'>,
  findPlaces: FindPlaces,
  signal: AbortSignal,
): Promise<CheckFinding> {
  const digest = acmeIdentifierDigest(keyAuthorization)
  const isIp = identifier.type === 'ip'
  const servername = isIp ? reverseName(identifier.value) : identifier.value

  function lookAt(place: Place): Promise<CheckFinding> {
    const wrong = (what: string): CheckFinding => ({
      outcome: 'wrong',
      reason: `the answer for ${identifier.value} is not shown at ${describePlace(place)}: ${what}`,
    })
    return new Promise((resolve) => {
      const socket = connect({
        ...{ host: place.address, port: place.port, servername, ALPNProtocols: [acmeTlsProtocol] },
        rejectUnauthorized: false,
      })
      const finish = (finding: CheckFinding) => {
        signal.removeEventListener('abort', abort)
        socket.destroy()
        resolve(finding)
      }
      const abort = () => finish({ outcome: 'unknown', reason: `${describePlace(place)}: no answer in time` })
      if (signal.aborted) return abort()
      signal.addEventListener('abort', abort)
      socket.on('secureConnect', () => {
        if (socket.alpnProtocol !== acmeTlsProtocol) return finish(wrong('what answers does not speak acme-tls/1'))
        const { raw, subjectaltname } = socket.getPeerCertificate()
        const shown = readAcmeIdentifier(raw)
        if (shown === undefined) return finish(wrong('the certificate there is none for this challenge'))
        if (!Buffer.from(shown).equals(digest)) return finish(wrong('the certificate there is for another challenge'))
        return finish(
          isNamed(subjectaltname, identifier.value, isIp)
            ? { outcome: 'visible' }
            : wrong('the certificate there is for another name'),
        )
      })
      socket.on('error', (error: NodeJS.ErrnoException) =>
        finish(
          error.code?.startsWith('ERR_SSL_')
            ? wrong(
                `the handshake was refused (${error.code.slice('ERR_SSL_'.length).toLowerCase().replaceAll('_', ' ')})`,
              )
            : { outcome: 'unknown', reason: `${describePlace(place)}: ${reasonOf(error)}` },
        ),
      )
    })
  }

  const found = await findPlaces(identifier.value, 443)
  if ('unknown' in found) return { outcome: 'unknown', reason: found.unknown }
  return combineFindings(
    await Promise.all(found.places.map(async (place) => ({ place, finding: await lookAt(place) }))),
  )
}

/** Node writes an IPv6 address in a form of its own, so addresses are compared by their octets. */
function isNamed(subjectAltName: string | undefined, value: string, isIp: boolean): boolean {
  if (!isIp) return subjectAltName === `DNS:${value}`
  const shown = /^IP Address:([0-9A-Fa-f.:]+)$/.exec(subjectAltName ?? '')?.[1]
  return shown !== undefined && Buffer.from(ipOctets(shown)).equals(Buffer.from(ipOctets(value)))
}
