"""What data sets of remote sensing, and OpenStreetMap, call things."""

_LISTS = {
    "DOTA": """
        plane, baseball-diamond, bridge, ground-track-field, small-vehicle, large-vehicle, ship,
        tennis-court, basketball-court, storage-tank, soccer-ball-field, roundabout, harbor,
        swimming-pool, helicopter, container-crane, airport, helipad
    """,
    "DIOR": """
        Airplane, Airport, Baseball field, Basketball court, Bridge, Chimney, Dam, Expressway
        service area, Expressway toll station, Golf course, Ground track field, Harbor, Overpass,
        Ship, Stadium, Storage tank, Tennis court, Train station, Vehicle, Wind mill,
        Expressway-Service-area, Expressway-toll-station, golffield, groundtrackfield, trainstation,
        windmill
    """,
    "FAIR1M": """
        Boeing737, Boeing747, Boeing777, Boeing787, C919, A220, A321, A330, A350, ARJ21,
        other-airplane, Passenger Ship, Motorboat, Fishing Boat, Tugboat, Engineering Ship, Liquid
        Cargo Ship, Dry Cargo Ship, Warship, other-ship, Small Car, Bus, Cargo Truck, Dump Truck,
        Van, Trailer, Tractor, Excavator, Truck Tractor, other-vehicle, Basketball Court, Tennis
        Court, Football Field, Baseball Field, Intersection, Roundabout, Bridge
    """,
    "fMoW": """
        airport, airport_hangar, airport_terminal, amusement_park, aquaculture, archaeological_site,
        barn, border_checkpoint, burial_site, car_dealership, construction_site, crop_field, dam,
        debris_or_rubble, educational_institution, electric_substation, factory_or_powerplant,
        fire_station, flooded_road, fountain, gas_station, golf_course,
        ground_transportation_station, helipad, hospital, impoverished_settlement, interchange,
        lake_or_pond, lighthouse, military_facility, multi-unit_residential, nuclear_powerplant,
        office_building, oil_or_gas_facility, park, parking_lot_or_garage, place_of_worship,
        police_station, port, prison, race_track, railway_bridge, recreational_facility,
        road_bridge, runway, shipyard, shopping_mall, single-unit_residential, smokestack,
        solar_farm, space_facility, stadium, storage_tank, surface_mine, swimming_pool, toll_booth,
        tower, tunnel_opening, waste_disposal, water_treatment_facility, wind_farm, zoo
    """,
    "AID and RESISC45": """
        bare land, baseball field, beach, bridge, center, church, commercial, dense residential,
        desert, farmland, forest, industrial, meadow, medium residential, mountain, park, parking,
        playground, pond, port, railway station, resort, river, school, sparse residential, square,
        stadium, storage tanks, viaduct, chaparral, circular farmland, cloud, freeway, intersection,
        island, mobile home park, overpass, palace, rectangular farmland, runway, sea ice, snowberg,
        terrace, thermal power station, agricultural, buildings, golf course, harbor, intersection,
        mobile home park, parking lot, river
    """,
    "OpenStreetMap": """
        unclassified road, unclassified highway, residential road, living street, motorway link,
        trunk road, service road, track, bridleway, footway, cycleway, path, steps, level crossing,
        turntable, buffer stop, allotments, basin, brownfield, greenfield, cemetery, commercial
        area, construction site, depot, farmland, farmyard, flowerbed, forest, garages, grass,
        greenhouse horticulture, industrial area, landfill, logging area, meadow, military area,
        orchard, quarry, railway yard, recreation ground, religious area, reservoir, retail area,
        salt pond, village green, vineyard, winter sports area, bare rock, beach, blowhole, cape,
        cliff, dune, fell, glacier, grassland, heath, isthmus, moor, mud, peninsula, reef, ridge,
        saddle, sand, scree, scrub, shingle, shoal, sinkhole, spring, strait, tundra, wetland, wood,
        apron, taxiway, aerodrome, navigational aid, windsock, dyke, embankment, groyne, breakwater,
        pier, lighthouse, gasometer, silo, water tower, water works, wastewater plant,
        communications tower, mast, pumping station, adit, mineshaft, petroleum well, oil well,
        pipeline, street cabinet, storage tank, bunker silo, clearcut, cutline, obelisk, no exit
        road, non-nuclear power plant, dead-end street, uncontrolled crossing, unmarked crossing,
        unsurfaced track, underground car park, unmanned level crossing, disused quarry, ruins,
        information board, notice board, recycling centre, clearing, cleared forest, cleared land,
        detail workshop, natural arch, noise wall, not-for-profit shop, notch, wayside cross,
        hazard, ski lift, ice rink, bandstand, fish farm, Building 0.5 storeys, tower block No. 12,
        pitch 2, terminal 1, runway 09L/27R, gate A12, road 66, 400 kV line, level 3 car park, bay 1
    """,
}

REAL_NAMES = sorted(
    {" ".join(name.split()) for names in _LISTS.values() for name in names.split(",")}
)
