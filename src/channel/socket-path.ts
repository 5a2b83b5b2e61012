/** sun_path has 108 octets with its end; a longer path would be cut off silently, and lead elsewhere. */
const maxPathBytes = 107

/** @throws Error when it is too long */
export function checkSocketPath(path: string): void {
  const bytes = Buffer.byteLength(path)
  if (bytes > maxPathBytes)
    throw new Error(`${path} is too long for a socket: ${bytes} octets of at most ${maxPathBytes}`)
}
