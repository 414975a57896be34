// Credentials: the immutable TLS policy that many sessions share.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "warren/result.h"
#include "warren/tls.h"

namespace warren::tls {

enum class Role : uint8_t { client, server };

// Everything that TlsOptions say, checked and ready. Reference counted; any thread may make sessions.
class Credentials;

// Reads files, parses PEM, matches keys and chains, loads roots.
//   errors  Origin::usage with Step::options: the option, which block and line, and the reason
Result<std::shared_ptr<const Credentials>> makeCredentials(const TlsOptions& options, Role role);

// As server names are compared: lower case, without a dot at the end.
std::string canonicalName(std::string_view name);

// The credentials of a listener: by the name a client asks for. Replaced as a whole, never changed.
// The name decides everything but the ticket keys, which are the fallback's for all: a ticket is
// opened before the name counts. What it holds is used only under a name with the same trust.
struct ServerPolicy {
  std::shared_ptr<const Credentials>
      fallback;  // for clients without a name, or with an unknown one
  struct Named {
    std::string name;  // canonical; "*.example.com" covers one label
    std::shared_ptr<const Credentials> credentials;
  };
  std::vector<Named> named;

  // Exact before wildcard; the fallback otherwise.
  const std::shared_ptr<const Credentials>& choose(std::string_view serverName) const;
};

}  // namespace warren::tls
