// copyright and changelog of the Debian package.

type Licences = { readonly own: string; readonly thirdParties: string; readonly node: string }

/** https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/, with every text in full. */
export function debianCopyright({ own, thirdParties, node }: Licences): string {
  return `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: acmems

Files: *
Copyright: ${/Copyright \(c\) (.*)/.exec(own)?.[1] ?? 'the acmems authors'}
License: Expat

Files: usr/lib/acmems/dist/*
Copyright: 2026 the acmems authors, and those who are named below
License: Expat and third-parties

Files: usr/lib/acmems/node
Copyright: Node.js contributors, and those who are named below
License: node

License: Expat
${indent(own)}

License: third-parties
${indent(thirdParties)}

License: node
${indent(node)}
`
}

/** A field's continuation lines. */
function indent(text: string): string {
  return text
    .replaceAll('\r', '')
    .trim()
    .split('\n')
    .map((line) => (line.trim() === '' ? ' .' : ` ${line.trimEnd()}`))
    .join('\n')
}

type Entry = { readonly version: string; readonly maintainer: string; readonly epochS: number }

export function debianChangelog({ version, maintainer, epochS }: Entry): string {
  // RFC 5322 §3.3, as Debian writes it.
  const date = new Date(epochS * 1000).toUTCString().replace('GMT', '+0000')
  return `acmems (${version}) unstable; urgency=medium

  * Built by the project itself; changelog.gz says what is new.

 -- ${maintainer}  ${date}
`
}
