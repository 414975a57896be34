// A world for TLS that is the same every time: the clock stands still, chance follows the input, and the
// keys are made from it. BoringSSL asks libc for the time and, through its public name, itself for
// chance; the programs of this directory answer both.
#pragma once

#include <cstdint>
#include <string>

#include "support/certificates.h"

namespace warren::fuzz {

// RAND_bytes continues the row of `state` from here on; and where the row stands.
void setChance(uint64_t state);
uint64_t chance();
// False when BoringSSL is linked statically and does not ask.
bool chanceIsOurs();

// An authority, a leaf of it for localhost, another for *.example.com, and one that nobody has signed.
// Ed25519 all of them: BoringSSL makes the nonces of ECDSA in ways that nobody can answer.
struct Identities {
  test::Identity authority;
  test::Identity localhost;
  test::Identity example;
  test::Identity stranger;
};
const Identities& identities();

}  // namespace warren::fuzz
