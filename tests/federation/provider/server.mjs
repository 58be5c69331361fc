// An OpenID provider on a free port: oidc-provider with its own pages, and a control address for the test.
import http from 'node:http';
import { SignJWT, decodeJwt, exportJWK, generateKeyPair, importJWK } from 'jose';
import Provider from 'oidc-provider';

const [base] = process.argv.slice(2);
const accounts = new Map();
let tampered = null;
let current;

async function keys(kid) {
  const { privateKey } = await generateKeyPair('RS256', { extractable: true });
  return { keys: [{ ...(await exportJWK(privateKey)), kid, use: 'sig', alg: 'RS256' }] };
}

async function make(issuer, kid) {
  const jwks = await keys(kid);
  const homes = ['/account', '/console'].map((home) => `${base}${home}/sign-in`);
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: 'cdp',
        client_secret: 'a secret: with + signs',
        redirect_uris: homes.map((home) => `${home}/callback`),
        post_logout_redirect_uris: homes,
      },
    ],
    jwks,
    cookies: { keys: ['tests only'] },
    claims: {
      openid: ['sub'],
      email: ['email', 'email_verified'],
      profile: ['name', 'given_name', 'family_name'],
      roles: ['groups'],
    },
    pkce: { required: () => true },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...accounts.get(id) }) }),
  });
  provider.use(async (ctx, next) => {
    await next();
    if (tampered && ctx.path === '/token' && ctx.body?.id_token) {
      const key = await importJWK(jwks.keys[0], 'RS256');
      const { alg = 'RS256', ...changed } = tampered;
      const claims = { ...decodeJwt(ctx.body.id_token), ...changed };
      const given = Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== null));
      const secret = new TextEncoder().encode('a secret: with + signs, and longer than that');
      ctx.body.id_token = await new SignJWT(given).setProtectedHeader({ alg, kid }).sign(alg === 'RS256' ? key : secret);
    }
  });
  return provider.callback();
}

const server = http.createServer(async (request, response) => {
  if (request.url !== '/control') {
    current(request, response);
    return;
  }
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const wanted = JSON.parse(Buffer.concat(chunks).toString());
  if (wanted.account) accounts.set(wanted.account, wanted.claims);
  if ('tampered' in wanted) tampered = wanted.tampered;
  if (wanted.key) current = await make(issuer(), wanted.key);
  response.end('{}');
});

const issuer = () => `http://127.0.0.1:${server.address().port}`;
server.listen(0, '127.0.0.1', async () => {
  current = await make(issuer(), 'first');
  console.log(JSON.stringify({ issuer: issuer() }));
});
