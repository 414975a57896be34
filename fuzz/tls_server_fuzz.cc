// A TLS server whose clients the fuzzer stands in front of: see tls_ends.h.
#include "tls_ends.h"

namespace warren::fuzz {
namespace {

const Target target("tls_server", [](Bytes input) { runEnds(input, Tested::server); });

}  // namespace
}  // namespace warren::fuzz
