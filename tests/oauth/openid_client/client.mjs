// A strict client walks through everything the server offers. It asks for a browser by a line {"open": URL} and reads
// the address the browser ended at; each thing that held is a line {"held": name}. The first that does not ends it.
import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import * as oidc from "openid-client";

const { base, redirect, clients } = JSON.parse(process.argv[2]);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const held = (name) => say({ held: name });
const open = async (url) => {
  say({ open: url.href });
  return new URL((await lines.next()).value);
};

const configured = (id, metadata, authentication) =>
  oidc.discovery(new URL(base), id, metadata, authentication, { execute: [oidc.allowInsecureRequests] });
const refused = (code) => (error) => error.error === code;

async function request(config, { pushed = false, DPoP, ...more } = {}) {
  const verifier = oidc.randomPKCECodeVerifier();
  const checks = { pkceCodeVerifier: verifier, expectedState: oidc.randomState(), expectedNonce: oidc.randomNonce() };
  const parameters = {
    redirect_uri: redirect,
    scope: "openid offline_access profile:read",
    code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    state: checks.expectedState,
    nonce: checks.expectedNonce,
    ...more,
  };
  const address = pushed
    ? await oidc.buildAuthorizationUrlWithPAR(config, parameters, { DPoP })
    : oidc.buildAuthorizationUrl(config, parameters);
  return { address, checks };
}

async function signIn(config, options = {}) {
  const { address, checks } = await request(config, options);
  const back = await open(address);
  const tokens = await oidc.authorizationCodeGrant(config, back, checks, undefined, { DPoP: options.DPoP });
  return { tokens, back, checks };
}

const graphql = (config, token, options) =>
  oidc.fetchProtectedResource(
    config,
    token,
    new URL("/graphql", base),
    "POST",
    JSON.stringify({ query: "{ viewer { kind } }" }),
    new Headers({ "content-type": "application/json" }),
    options,
  );

async function publicClient() {
  const config = await configured(clients.public, undefined, oidc.None());
  held("discovery");
  const { tokens, back, checks } = await signIn(config);
  assert.equal(tokens.claims().nonce, checks.expectedNonce);
  const info = await oidc.fetchUserInfo(config, tokens.access_token, tokens.claims().sub);
  assert.equal(info.sub, tokens.claims().sub);
  held("code with PKCE");
  const next = await oidc.refreshTokenGrant(config, tokens.refresh_token);
  assert.notEqual(next.refresh_token, tokens.refresh_token);
  held("refresh");
  await assert.rejects(oidc.refreshTokenGrant(config, tokens.refresh_token), refused("invalid_grant"));
  await assert.rejects(oidc.refreshTokenGrant(config, next.refresh_token), refused("invalid_grant"));
  held("replayed refresh token refused");
  const other = await signIn(config);
  await assert.rejects(oidc.authorizationCodeGrant(config, other.back, other.checks), refused("invalid_grant"));
  await assert.rejects(oidc.refreshTokenGrant(config, other.tokens.refresh_token), refused("invalid_grant"));
  held("replayed code refused");
  const third = await signIn(config);
  await oidc.tokenRevocation(config, third.tokens.refresh_token);
  await assert.rejects(oidc.refreshTokenGrant(config, third.tokens.refresh_token), refused("invalid_grant"));
  held("revocation");
  await downgrades(config);
}

async function downgrades(config) {
  for (const wrong of [{ code_challenge_method: "plain" }, { code_challenge: undefined, code_challenge_method: undefined }]) {
    const { address, checks } = await request(config);
    for (const [name, value] of Object.entries(wrong)) {
      if (value === undefined) address.searchParams.delete(name);
      else address.searchParams.set(name, value);
    }
    const back = await open(address);
    await assert.rejects(oidc.authorizationCodeGrant(config, back, checks), refused("invalid_request"));
  }
  const { address, checks } = await request(config);
  const back = await open(address);
  const wrong = { ...checks, pkceCodeVerifier: oidc.randomPKCECodeVerifier() };
  await assert.rejects(oidc.authorizationCodeGrant(config, back, wrong), refused("invalid_grant"));
  held("plain, dropped and wrong PKCE refused");
  const elsewhere = await request(config, { redirect_uri: `${redirect}/elsewhere` });
  assert.equal((await open(elsewhere.address)).pathname, "/refused");
  held("wrong redirect refused");
}

async function confidentialClient() {
  const config = await configured(clients.secret.id, clients.secret.secret);
  const { tokens } = await signIn(config, { pushed: true });
  held("pushed request");
  const told = await oidc.tokenIntrospection(config, tokens.access_token);
  assert.equal(told.active, true);
  assert.equal(told.sub, tokens.claims().sub);
  await oidc.tokenRevocation(config, tokens.access_token);
  held("introspection");
  const end = oidc.buildEndSessionUrl(config, {
    id_token_hint: tokens.id_token,
    post_logout_redirect_uri: `${redirect}/bye`,
    state: "over",
  });
  const bye = await open(end);
  assert.equal(bye.href, `${redirect}/bye?state=over`);
  held("logout");
}

async function possession() {
  const config = await configured(clients.public, undefined, oidc.None());
  for (const alg of ["ES256", "Ed25519"]) {
    const DPoP = oidc.getDPoPHandle(config, await oidc.randomDPoPKeyPair(alg));
    const { tokens } = await signIn(config, { DPoP, pushed: alg === "ES256" });
    assert.equal(tokens.token_type, "dpop");
    await oidc.fetchUserInfo(config, tokens.access_token, tokens.claims().sub, { DPoP });
    const answer = await (await graphql(config, tokens.access_token, { DPoP })).json();
    assert.equal(answer.data.viewer.kind, "CUSTOMER");
    await assert.rejects(graphql(config, tokens.access_token), (error) => error.status === 401);
    await assert.rejects(oidc.refreshTokenGrant(config, tokens.refresh_token), refused("invalid_grant"));
    const next = await oidc.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP });
    await oidc.fetchUserInfo(config, next.access_token, tokens.claims().sub, { DPoP });
  }
  held("DPoP");
}

async function program() {
  for (const { id, jwk, algorithm, details } of clients.keys) {
    const key = await crypto.subtle.importKey("jwk", jwk, algorithm, false, ["sign"]);
    const config = await configured(id, undefined, oidc.PrivateKeyJwt(key));
    const tokens = await oidc.clientCredentialsGrant(config, {
      authorization_details: JSON.stringify(details),
    });
    assert.equal(tokens.refresh_token, undefined);
    assert.deepEqual(tokens.authorization_details, details);
    const told = await oidc.tokenIntrospection(config, tokens.access_token);
    assert.deepEqual([told.sub, told.authorization_details], [id, details]);
    await assert.rejects(oidc.clientCredentialsGrant(config, { scope: "profile:read" }), refused("invalid_scope"));
  }
  held("client credentials with private_key_jwt");
}

await publicClient();
await possession();
await program();
await confidentialClient();
say({ done: true });
process.exit(0);
