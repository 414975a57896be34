// Dialer: one outgoing connection, from a name to a connected descriptor (RFC 8305).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/slab.h"
#include "net/token.h"
#include "os/fd.h"
#include "warren/address.h"
#include "warren/connect.h"
#include "warren/result.h"

namespace warren::net {

class ReactorImpl;

// Where a connect stands.
struct Dialed {
  enum class Stage : uint8_t { pending, connected, failed };

  Stage stage = Stage::pending;
  os::Fd fd{};     // connected: the descriptor, watched under the socket's own token
  Address peer{};  // connected
  Error
      error{};  // failed: why the last address did; connected: it is reset already, behind its data
  bool adopted = false;
};

// Tries the addresses of one host: families in turn, the next one beside those under way when the
// stagger is up or at once when one fails. No attempt is cut short for another; the first connection
// wins. The deadline over all of it is the connection's.
//   owner      the connection's Cold, while it is connecting
//   invariant  every step returns where it stands; nothing is called upward
class Dialer {
 public:
  Dialer(ReactorImpl& reactor, base::SlotId socket, detail::ConnectRequest request);
  ~Dialer();
  Dialer(const Dialer&) = delete;
  Dialer& operator=(const Dialer&) = delete;

  // Begins at once when nobody has to be asked for addresses. False when nothing is under way: `begin`
  // is for a later turn then.
  bool beginKnown();
  Dialed begin();
  Dialed onAddresses(Result<std::vector<Address>> addresses);
  Dialed onReady(Part attempt);
  Dialed onStagger();

  // What is being dialed, for messages: "localhost:80", "/run/a.sock".
  std::string target() const;
  // It was given this descriptor.
  bool holds(int fd) const { return given_.get() == fd; }

 private:
  struct Attempt {
    os::Fd fd;
    Address address;
  };

  Dialed connectUnix();
  Dialed adopt();
  Dialed tryNext();
  int start(Attempt& attempt, Part place, const Address& address);
  Dialed won(Part place, int error);
  void armStagger();
  Dialed watched(os::Fd fd, const Address& peer, bool adopted);
  Dialed connected(os::Fd fd, const Address& peer, bool adopted);
  int sendProxyHeader(int fd) const;
  bool underWay() const;
  Part freePlace() const;

  ReactorImpl& reactor_;
  const base::SlotId socket_;
  const detail::ConnectRequest request_;
  os::Fd given_;  // the option `fd`: ours from the start
  std::vector<Address> addresses_;
  size_t nextAddress_ = 0;
  std::array<Attempt, kMaxAttempts> attempts_;
  uint32_t staggerTimer_ = kNone;
  Error lastError_;
};

// RFC 8305, section 4: families in turn, keeping the order within each; the first one's leads.
std::vector<Address> interleave(const std::vector<Address>& addresses);

}  // namespace warren::net
