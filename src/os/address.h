// Addresses as text and as the kernel has them. Pure functions: nothing here asks the network.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "warren/address.h"

struct sockaddr;
struct sockaddr_storage;

namespace warren::os {

// Reads a numeric address: "127.0.0.1" (exactly four decimal parts without leading zeros, as
// inet_pton), any RFC 4291 IPv6 form, with "%scope" as a number or an interface name. nullopt for
// everything else, so for every host name.
std::optional<Address> parseAddress(std::string_view host, uint16_t port);

// Longest text that parseAddress looks at.
constexpr size_t kMaxAddressText = 45 + 1 + 32;

// The kernel's form; the size in use is returned. Only for ipv4 and ipv6.
uint32_t toSockaddr(const Address& address, sockaddr_storage& into);
// And back; Family::unix for AF_UNIX, none for what warren does not know or a size too small.
Address fromSockaddr(const sockaddr* from, uint32_t size);

// A unix path for messages: "unix /run/a.sock", "unix @abstract"; with its size when that is the
// trouble with it.
std::string unixText(const std::string& path);

}  // namespace warren::os
