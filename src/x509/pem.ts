/** One RFC 7468 block. */
export type PemBlock = { readonly label: string; readonly der: Uint8Array }

const blockPattern = /-----BEGIN ([A-Z0-9 ]{1,64})-----[ \t]*\r?\n([^-]*)-----END ([A-Z0-9 ]{1,64})-----/g

/**
 * All blocks of a text and what stands around them.
 * @throws RangeError when a block's ends do not match or its content is no base64
 */
export function parsePem(text: string): { blocks: PemBlock[]; before: string; after: string } {
  const blocks: PemBlock[] = []
  let before = text
  let position = 0
  for (const match of text.matchAll(blockPattern)) {
    if (blocks.length === 0) before = text.slice(0, match.index)
    const [whole, label = '', base64 = '', endLabel] = match
    if (label !== endLabel) throw new RangeError(`a PEM block begins as ${label} and ends as ${endLabel}`)
    blocks.push({ label, der: decodeBase64(base64) })
    position = match.index + whole.length
  }
  return { blocks, before, after: blocks.length === 0 ? '' : text.slice(position) }
}

function decodeBase64(text: string): Uint8Array {
  const compact = text.replace(/[ \t\r\n]/g, '')
  if (compact.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(compact))
    throw new RangeError('a PEM block is not base64')
  return new Uint8Array(Buffer.from(compact, 'base64'))
}

export function formatPem(label: string, der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}
