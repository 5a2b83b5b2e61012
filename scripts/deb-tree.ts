// The folder that a Debian package is made of.
import {
  chmodSync,
  copyFileSync,
  globSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'

export interface Tree {
  readonly folder: string
  file(path: string, content: string | Uint8Array, mode?: number): void
  copy(from: string, path: string, mode?: number): void
  link(path: string, target: string): void
  /** Regular files, sorted. */
  files(): string[]
  /** As Debian counts Installed-Size. */
  installedKib(): number
  /** Modes of folders, and one time for all. */
  close(epochS: number): void
}

/** Modes are set, never left to the umask or to the modes of the checkout. */
export function createTree(folder: string): Tree {
  mkdirSync(folder)
  const at = (path: string) => {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    return join(folder, path)
  }
  const all = () => globSync('**/*', { cwd: folder }).sort()
  const packed = () => all().filter((path) => path !== 'DEBIAN' && !path.startsWith('DEBIAN/'))
  return {
    folder,
    file(path, content, mode = 0o644) {
      writeFileSync(at(path), content)
      chmodSync(at(path), mode)
    },
    copy(from, path, mode = 0o644) {
      copyFileSync(from, at(path))
      chmodSync(at(path), mode)
    },
    link: (path, target) => symlinkSync(target, at(path)),
    files: () => packed().filter((path) => lstatSync(join(folder, path)).isFile()),
    installedKib: () =>
      packed()
        .map((path) => lstatSync(join(folder, path)))
        .reduce((sum, one) => sum + (one.isFile() ? Math.ceil(one.size / 1024) : 1), 0),
    close(epochS) {
      for (const path of [...all(), '.']) {
        const whole = join(folder, path)
        if (lstatSync(whole).isDirectory()) chmodSync(whole, 0o755)
        lutimesSync(whole, epochS, epochS)
      }
    },
  }
}
