// SessionCache: the latest session with each host, for clients that resume.
#pragma once

#include <string>
#include <vector>

#include "base/lock.h"
#include "tls/boring.h"

namespace warren::tls {

// Owner: the Credentials of a client. At most kHosts; the one that was not used for longest makes room.
//   thread  any
class SessionCache {
 public:
  static constexpr size_t kHosts = 256;

  void keep(const std::string& host, bssl::UniquePtr<SSL_SESSION> session);
  // The session to offer; null if there is none. One of TLS 1.3 is given away: its ticket is meant to
  // be used once, so that connections cannot be linked.
  bssl::UniquePtr<SSL_SESSION> take(const std::string& host);

 private:
  struct Entry {
    std::string host;
    bssl::UniquePtr<SSL_SESSION> session;
  };

  base::Mutex mutex_;
  std::vector<Entry> entries_;  // the latest used last
};

}  // namespace warren::tls
