import type { Plugin, Presented } from '../../plugin-api.ts'

const options = {
  'client-certificate': {
    meaning: "the public key of a host's TLS client certificate: sha256//BASE64, as curl's --pinnedpubkey has it",
    type: 'pin',
    list: true,
    parse: parsePin,
  },
} as const

/**
 * `client-certificate`: TLS proved that the host has the key, so it does not matter who signed its certificate, or
 * until when it is valid. Only where TLS ends here.
 */
export const clientCertificateCredential: Plugin<'credential', typeof options> = {
  kind: 'credential',
  name: 'client-certificate',
  meaning: 'TLS client certificates',
  options,
  async create({ 'client-certificate': pins }) {
    const known = new Set(pins)
    const holds = ({ clientCertificateSpkiSha256: pin }: Pick<Presented, 'clientCertificateSpkiSha256'>) =>
      pin !== undefined && known.has(pin)
    return { holds, couldHold: holds }
  },
}

function parsePin(text: string): string {
  const base64 = /^sha256\/\/([A-Za-z0-9+/]{43}=)$/.exec(text)?.[1]
  if (base64 === undefined) throw new Error(`${JSON.stringify(text)} is no pin; write sha256//BASE64 (44 characters)`)
  return base64
}
