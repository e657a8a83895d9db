// Signs JWTs with the library jose: reads a list of {alg, key, header, claims} from stdin, key in PKCS #8, and writes one JWT a line.
import { text } from 'node:stream/consumers'
import { SignJWT, importPKCS8 } from 'jose'

for (const { alg, key, header, claims } of JSON.parse(await text(process.stdin))) {
  console.log(await new SignJWT(claims).setProtectedHeader({ alg, ...header }).sign(await importPKCS8(key, alg)))
}
