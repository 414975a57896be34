// A TLS client whose servers the fuzzer stands in front of: see tls_ends.h.
#include "tls_ends.h"

namespace warren::fuzz {
namespace {

const Target target("tls_client", [](Bytes input) { runEnds(input, Tested::client); });

}  // namespace
}  // namespace warren::fuzz
